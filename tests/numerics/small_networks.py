"""Networks of one or two layers, whose answers can be worked out by hand, as ONNX files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[int | str]
ANY: Dims = ("X", "Y", "Z")


def save_convolution(
    path: Path, weight: np.ndarray, bias: Sequence[float], spatial: Dims = ANY, *, softmax: bool = False
) -> str:
    """Write a network of one convolution that keeps the image's size; return its checksum.

    `weight` has shape (K, C, kx, ky, kz), every k odd.
    """
    outputs, channels, *kernel = weight.shape
    pads = [size // 2 for size in kernel]
    nodes = [helper.make_node("Conv", ["image", "w", "b"], ["y"], kernel_shape=kernel, pads=[*pads, *pads])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["y"], ["p"], axis=1))
    constants = [
        numpy_helper.from_array(weight.astype(np.float32), "w"),
        numpy_helper.from_array(np.asarray(bias, np.float32), "b"),
    ]
    return save_graph(path, nodes, constants, (1, channels, *spatial), (1, outputs, *spatial))


def save_graph(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    takes: Dims,
    gives: Dims,
    element: int = TensorProto.FLOAT,
) -> str:
    """Write a network of these layers, from ``image`` to the last layer's output; return its checksum."""
    image = helper.make_tensor_value_info("image", element, takes)
    result = helper.make_tensor_value_info(nodes[-1].output[0], element, gives)
    graph = helper.make_graph(nodes, "small", [image], [result], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pointwise(*rows: Sequence[float]) -> np.ndarray:
    """Weight of a 1x1x1 convolution: a row of channel weights for every output."""
    return np.array(rows, dtype=np.float32)[:, :, np.newaxis, np.newaxis, np.newaxis]
