"""Changes to ONNX graphs: axes and channels in another order, and norms that keep their digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatBatch = NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """How an image is laid out for a network, and its output for the image.

    Attributes
    ----------
    axes : tuple of int
        Axis of the image that each spatial axis of the network is.
    scale, offset : tuple of float
        Of each channel: the network gets ``image * scale + offset``. Empty: as it is.
    outputs : tuple of int
        Channel of the network that each channel of the output is. Empty: as it is.
    """

    axes: tuple[int, ...] = (0, 1, 2)
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    outputs: tuple[int, ...] = ()

    @property
    def forth(self) -> list[int]:
        """Permutation of a batch of images for the network."""
        return [0, 1, *(2 + axis for axis in self.axes)]

    @property
    def back(self) -> list[int]:
        """Permutation of the network's output for the image."""
        return [0, 1, *(2 + self.axes.index(axis) for axis in range(len(self.axes)))]


def with_layout(model: Any, layout: Layout, image: Sequence[int], output: Sequence[int]) -> Any:
    """ONNX model that takes images as they lie, and does to them what `layout` says.

    Parameters
    ----------
    model : onnx.ModelProto
        Of one input and one output.
    layout : Layout
    image, output : sequence of int
        Channels and spatial shape of an image, and of the output for it.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    source, target = graph.input[0].name, graph.output[0].name
    before: list[Any] = []
    after: list[Any] = []
    name = "image"
    moved = list(layout.axes) != sorted(layout.axes)
    if layout.scale:
        for kind, values in (("Mul", layout.scale), ("Add", layout.offset)):
            column = np.array(values, np.float32).reshape(1, -1, 1, 1, 1)
            graph.initializer.append(numpy_helper.from_array(column, f"layout.{kind}"))
            before.append(helper.make_node(kind, [name, f"layout.{kind}"], [f"layout.{kind}.out"]))
            name = f"layout.{kind}.out"
    if moved:
        before.append(helper.make_node("Transpose", [name], [source], perm=layout.forth))
    else:
        before.append(helper.make_node("Identity", [name], [source]))
    name = target
    if moved and len(output) > 1:
        after.append(helper.make_node("Transpose", [name], ["layout.back"], perm=layout.back))
        name = "layout.back"
    if layout.outputs:
        graph.initializer.append(numpy_helper.from_array(np.array(layout.outputs, np.int64), "layout.order"))
        after.append(helper.make_node("Gather", [name, "layout.order"], ["layout.gathered"], axis=1))
        name = "layout.gathered"
    after.append(helper.make_node("Identity", [name], ["output"]))
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *image]))
    graph.output.append(helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", *output]))
    return model


def with_steady_norms(model: Any) -> Any:
    """ONNX model in which every InstanceNormalization is computed from means of means.

    ONNX Runtime sums a whole channel in 32 bits: its norms are off by 2e-4 for 128^3 voxels, 1e-3 for 192^3
    and 4e-3 for 256^3. Summed in two stages they are exact to 1e-6, but take three to nine times as long.

    Parameters
    ----------
    model : onnx.ModelProto
        Opset 18 or later; the spatial shapes are fixed.
    """
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = [*inferred.value_info, *inferred.input, *inferred.output]
    shapes = {item.name: [part.dim_value for part in item.type.tensor_type.shape.dim] for item in known}
    nodes: list[Any] = []
    for place, node in enumerate(model.graph.node):
        shape = shapes.get(node.input[0], [])[1:] if node.op_type == "InstanceNormalization" else []
        if shape and min(shape) > 0:
            nodes += _norm(model.graph, node, shape, f"norm{place}")
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _norm(graph: Any, node: Any, shape: list[int], name: str) -> list[Any]:
    """Nodes that stand for an InstanceNormalization of channels and a spatial shape."""
    from onnx import helper, numpy_helper

    nodes: list[Any] = []
    voxels = math.prod(shape[1:])
    rows = next(count for count in range(math.isqrt(voxels), 0, -1) if voxels % count == 0)
    constants: dict[str, NDArray[Any]] = {
        "rows": np.array([0, shape[0], rows, voxels // rows], np.int64),
        "column": np.array([1, shape[0], 1, 1], np.int64),
        "whole": np.array([0, *shape], np.int64),
        "third": np.array([3], np.int64),
        "second": np.array([2], np.int64),
        "epsilon": np.array(
            next((item.f for item in node.attribute if item.name == "epsilon"), 1e-5), np.float32
        ),
    }
    graph.initializer.extend(
        numpy_helper.from_array(value, f"{name}.{key}") for key, value in constants.items()
    )

    def add(kind: str, inputs: list[str], output: str) -> str:
        nodes.append(helper.make_node(kind, inputs, [output]))
        return output

    def mean(x: str, output: str) -> str:
        first = add("ReduceMean", [x, f"{name}.third"], f"{output}.rows")
        return add("ReduceMean", [first, f"{name}.second"], output)

    x, scale, bias = node.input
    flat = add("Reshape", [x, f"{name}.rows"], f"{name}.flat")
    centred = add("Sub", [flat, mean(flat, f"{name}.mean")], f"{name}.centred")
    squared = add("Mul", [centred, centred], f"{name}.squared")
    variance = add("Add", [mean(squared, f"{name}.square"), f"{name}.epsilon"], f"{name}.variance")
    gain = add("Reshape", [scale, f"{name}.column"], f"{name}.gain")
    factor = add("Div", [gain, add("Sqrt", [variance], f"{name}.sd")], f"{name}.factor")
    scaled = add("Mul", [centred, factor], f"{name}.scaled")
    shifted = add(
        "Add", [scaled, add("Reshape", [bias, f"{name}.column"], f"{name}.shift")], f"{name}.shifted"
    )
    add("Reshape", [shifted, f"{name}.whole"], node.output[0])
    return nodes
