"""Networks of torch as ONNX files, each compared with torch before it is kept."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

from voxelome.errors import InputError
from voxelome.imageio import replacing
from voxelome.segmentation.importers.onnx_graph import (
    FloatBatch,
    Layout,
    with_layout,
    with_steady_norms,
)
from voxelome.segmentation.spec import Activation, NetworkSpec

# ONNX Runtime reads it since 1.14.
OPSET = 18
# Largest difference of a probability between ONNX Runtime and torch; of a regression, share of its spread.
TOLERANCE = 1e-3
# From so many voxels on the norms of ONNX Runtime lose digits that matter (see with_steady_norms).
LARGE = 2**21
SEED = 20

# What torch and the networks of libraries raise where they cannot do what is asked.
FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AssertionError)


@dataclass(frozen=True)
class Form:
    """What a network takes and gives.

    Attributes
    ----------
    channels : int
        Of an image.
    patch : tuple of int
        Spatial shape of an image.
    outputs : int
        Channels, or numbers, that it gives.
    spatial : bool
        Whether it gives an image.
    activation : str
        What makes probabilities of its outputs.
    """

    channels: int
    patch: tuple[int, ...]
    outputs: int
    spatial: bool = True
    activation: Activation = "softmax"

    @classmethod
    def of(cls, spec: NetworkSpec) -> Form:
        """Form that a specification asks for."""
        segments = spec.task == "segmentation"
        return cls(spec.channels, spec.grid.patch, spec.outputs, segments, spec.activation)

    @property
    def image(self) -> tuple[int, ...]:
        """Channels and spatial shape of an image."""
        return (self.channels, *self.patch)

    @property
    def result(self) -> tuple[int, ...]:
        """Channels, and spatial shape if there is one, of the output."""
        return (self.outputs, *self.patch) if self.spatial else (self.outputs,)


def write_member(network: Any, target: Path, form: Form, source: Path, layout: Layout | None = None) -> None:
    """Write a network of torch as ONNX, if ONNX Runtime gives the same with it as torch.

    Parameters
    ----------
    network : torch.nn.Module or torch.jit.ScriptModule
        Maps (N, channels, ...) to (N, outputs, ...) or (N, outputs).
    target : path
        ONNX file. It maps ``image`` to ``output``; the size of the batch is free.
    form : Form
        Of the images as they lie, not as `layout` turns them for the network.
    source : path
        File that the network comes from.
    layout : Layout, optional

    Raises
    ------
    InputError
        The network does not take or give what `form` says, cannot be written as ONNX, or ONNX Runtime
        does something else with it than torch.
    """
    layout = layout or Layout()
    network.eval()
    # Two, so that no layer takes the size of the batch for a constant.
    images = np.random.default_rng(SEED).standard_normal((2, *form.image), dtype=np.float32)
    batch = images
    if layout.scale:
        scale, offset = (
            np.array(part, np.float32).reshape(1, -1, 1, 1, 1) for part in (layout.scale, layout.offset)
        )
        batch = batch * scale + offset
    batch = np.ascontiguousarray(batch.transpose(layout.forth))
    expected = _forward(network, batch, form, layout, source)
    model = _traced(network, batch, source)
    if np.prod(form.patch) > LARGE:
        model = with_steady_norms(model)
    model = with_layout(model, layout, form.image, form.result)
    _compare(model, images, expected, form.activation if form.spatial else "none", source)
    with replacing(target) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def _forward(network: Any, batch: FloatBatch, form: Form, layout: Layout, source: Path) -> FloatBatch:
    """Outputs of torch, checked against the form, as they lie for the image."""
    import torch

    shape = "x".join(str(size) for size in batch.shape[2:])
    try:
        with torch.inference_mode():
            result = network(torch.from_numpy(batch))
    except FAILURES as error:
        reason = " ".join(str(error).split())[-200:]
        problem = f"fails on {form.channels} channels of {shape} voxels ({reason})"
        raise InputError(source, problem, "mend inputs and grid: patch in the network's entry") from error
    if not isinstance(result, torch.Tensor):
        problem = f"gives a {type(result).__name__}, not one array"
        raise InputError(source, problem, "export the network without its further outputs")
    outputs: FloatBatch = result.numpy()
    if outputs.ndim == batch.ndim:
        outputs = outputs.transpose(layout.back)
    outputs = outputs[:, list(layout.outputs)] if layout.outputs else outputs
    if outputs.shape[1:] != form.result:
        found = "x".join(str(size) for size in outputs.shape[1:])
        wanted = "x".join(str(size) for size in form.result)
        problem = f"gives {found} (channels first), and its description says {wanted}"
        raise InputError(source, problem, "mend outputs and grid: patch in the network's entry")
    return outputs


def _traced(network: Any, batch: FloatBatch, source: Path) -> Any:
    """ONNX model of the network."""
    import onnx
    import torch

    example = (torch.from_numpy(batch),)
    names = {"input_names": ["network.in"], "output_names": ["network.out"], "opset_version": OPSET}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # What it could get wrong shows in the comparison.
            warnings.simplefilter("ignore")
            if isinstance(network, torch.jit.ScriptModule):
                # The newer exporter knows no TorchScript.
                stream, free = io.BytesIO(), {0: "batch"}
                axes = {"network.in": free, "network.out": free}
                torch.onnx.export(network, example, stream, dynamo=False, dynamic_axes=axes, **names)
                model = onnx.load_from_string(stream.getvalue())
            else:
                free_batch = ({0: torch.export.Dim("batch")},)
                program = torch.onnx.export(
                    network, example, dynamo=True, dynamic_shapes=free_batch, verbose=False, **names
                )
                model = program.model_proto
    except (torch.onnx.errors.OnnxExporterError, *FAILURES) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            source, f"cannot be written as ONNX ({reason})", "export it to ONNX yourself"
        ) from error
    # Notes on where each node came from hold the paths of this computer.
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.graph.ClearField("value_info")
    return model


def _compare(
    model: Any, images: FloatBatch, expected: FloatBatch, activation: Activation, source: Path
) -> None:
    """Refuse a model with which ONNX Runtime gives something else than torch."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    failures = (runtime.Fail, runtime.InvalidGraph, runtime.InvalidArgument, runtime.NotImplemented)
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        # One at a time, as they are when it is used.
        found = np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])
    except failures as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            source, f"ONNX Runtime cannot run it ({reason})", "export it to ONNX yourself"
        ) from error
    scale = max(1.0, float(expected.std())) if activation == "none" else 1.0
    worst = float(np.abs(_activated(found, activation) - _activated(expected, activation)).max()) / scale
    if not worst < TOLERANCE:
        problem = f"ONNX Runtime and torch differ by {worst:.2g} with it"
        raise InputError(source, problem, "export it to ONNX yourself, and compare")


def _activated(outputs: FloatBatch, activation: Activation) -> FloatBatch:
    """Probabilities."""
    if activation == "sigmoid":
        return np.asarray(special.expit(outputs))
    return np.asarray(special.softmax(outputs, axis=1)) if activation == "softmax" else outputs
