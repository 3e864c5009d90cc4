"""Trained networks as ONNX."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voxelome.imageio import replacing

if TYPE_CHECKING:
    import torch

# What ONNX Runtime of the oldest version that the project allows reads.
OPSET = 17
# Weights with more numbers than this are stored as float16; their rounding moves probabilities by about 1e-4.
_SMALL = 64


def export_onnx(
    network: torch.nn.Module,
    shape: Sequence[int],
    path: Path,
    outputs: Sequence[str] = ("logits",),
    *,
    any_size: bool = False,
    half: bool = False,
) -> None:
    """Write a network as ONNX, for any number of cases.

    Parameters
    ----------
    network : torch.nn.Module
        Takes (N, C, X, Y, Z).
    shape : sequence of int
        Of a case: C, X, Y, Z.
    path : path
        File to write.
    outputs : sequence of str
        Names of what it gives.
    any_size : bool
        Whether it takes other sizes too, and gives as many voxels as it takes.
    half : bool
        Whether large weights are stored as float16.
    """
    import onnx
    import torch

    free = {0: "n", 2: "x", 3: "y", 4: "z"} if any_size else {0: "n"}
    buffer = io.BytesIO()
    torch.onnx.export(
        network.eval().cpu().float(),
        (torch.zeros((1, *shape)),),
        buffer,
        opset_version=OPSET,
        input_names=["image"],
        output_names=list(outputs),
        dynamic_axes=dict.fromkeys(("image", *outputs), free),
        dynamo=False,
    )
    model = onnx.load_from_string(buffer.getvalue())
    if half:
        _halve(model)
    onnx.checker.check_model(model)
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def _halve(model: Any) -> None:
    """Store large weights as float16, cast to float32 where they are used."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or int(np.prod(weight.dims)) <= _SMALL:
            continue
        name = weight.name
        half = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), f"{name}.half")
        weight.CopyFrom(half)
        casts.append(helper.make_node("Cast", [half.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    for place, node in enumerate(casts):
        model.graph.node.insert(place, node)
