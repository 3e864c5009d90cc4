"""Memory that a network will need, and what there is: refused before it is taken, not killed on the way."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

import onnx

from voxelome.errors import DataError
from voxelome.memory import memory_free
from voxelome.segmentation.spec import NetworkSpec

FLOAT = 4
# Python, NumPy, SciPy and ONNX Runtime themselves.
PROGRAM = 250 * 2**20
# Volumes of the image's own grid: labels, best, entropy, disagreement, and those of an interpolation.
NATIVE_VOLUMES = 8


def activation_memory(path: Path, shape: Sequence[int]) -> int:
    """Bytes of the results of a network's layers that are alive at once, at the worst moment.

    Parameters
    ----------
    path : path
        ONNX file.
    shape : sequence of int
        Shape of its input, batch and channels first.

    Notes
    -----
    A result lives from the layer that gives it to the last that takes it. Results whose size ONNX cannot
    infer count as nothing.
    """
    model = onnx.load(path, load_external_data=False)
    for axis, size in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=False):
        axis.dim_value = size
    # Sizes that an exporter wrote down for another input would contradict the inferred ones.
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    sizes = {
        item.name: FLOAT * prod(axis.dim_value for axis in item.type.tensor_type.shape.dim)
        for item in (*graph.input, *graph.value_info, *graph.output)
    }
    last = {name: index for index, node in enumerate(graph.node) for name in node.input}
    alive = {graph.input[0].name: sizes[graph.input[0].name]}
    peak = 0
    for index, node in enumerate(graph.node):
        alive |= {name: sizes.get(name, 0) for name in node.output}
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last.get(name, len(graph.node)) > index}
    return peak


def memory_needed(
    spec: NetworkSpec,
    shape: Sequence[int],
    native_shape: Sequence[int],
    activations: int = 0,
    kept: int = 0,
) -> int:
    """Bytes that a segmentation takes at its worst moment, about, with its networks in memory already.

    Parameters
    ----------
    spec : NetworkSpec
    shape : sequence of 3 int
        Grid that the network works on.
    native_shape : sequence of 3 int
        Grid of the images.
    activations : int
        What the layers of the network take, by :func:`activation_memory`.
    kept : int
        Labels whose probabilities are kept.
    """
    voxels, native = prod(shape), prod(native_shape)
    window = voxels if spec.grid.kind == "conform" else min(voxels, prod(spec.grid.patch))
    passes = len(spec.members) * 2 ** len(spec.grid.mirror)
    inputs = spec.channels * (voxels + window) + len(spec.inputs) * native
    # The sum over windows, and in a window the sum over passes; the output itself is one of the activations.
    held = 0 if window == voxels else (spec.outputs + 2) * voxels
    summed = spec.outputs * window if passes > 1 else 0
    running = inputs + held + summed + max(activations // FLOAT, spec.outputs * window + summed)
    return PROGRAM + FLOAT * max(running, inputs + spec.outputs * voxels + (NATIVE_VOLUMES + kept) * native)


def check_memory(needed: int) -> None:
    """Refuse what does not fit.

    Raises
    ------
    DataError
        More memory is needed than there is.
    """
    free = memory_free()
    if needed > free:
        problem = f"the network needs about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free"
        raise DataError(problem, "run it on a machine with more, or take a smaller patch or network")
