"""Changes to ONNX graphs, against exact arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from voxelome.segmentation.importers.onnx_graph import Layout, with_layout, with_steady_norms


def norm_model(shape: list[int]) -> Any:
    """One InstanceNormalization of two channels."""
    scale, bias = np.array([1.0, 2.0], np.float32), np.array([0.0, 0.5], np.float32)
    node = helper.make_node("InstanceNormalization", ["x", "s", "b"], ["y"], epsilon=1e-3)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape]) for name in "xy"]
    constants = [numpy_helper.from_array(scale, "s"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph([node], "norm", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def run(model: Any, image: Any) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def exact_norm(image: Any) -> Any:
    """The same in 64 bits."""
    axes = tuple(range(2, image.ndim))
    wide = image.astype(np.float64)
    column = (1, 2, *[1] * len(axes))
    wide = (wide - wide.mean(axes, keepdims=True)) / np.sqrt(wide.var(axes, keepdims=True) + 1e-3)
    return wide * np.array([1, 2.0]).reshape(column) + np.array([0, 0.5]).reshape(column)


# The last is what the exporter of torch makes of a GroupNorm.
@pytest.mark.parametrize("shape", [[2, 7, 8, 9], [2, 13, 11], [2, 7 * 8 * 9]])
def test_norms_of_means_of_means_are_norms(shape: list[int]) -> None:
    image = np.random.default_rng(1).normal(3, 2, (2, *shape)).astype(np.float32)
    model = with_steady_norms(norm_model(shape))
    assert "InstanceNormalization" not in {node.op_type for node in model.graph.node}
    assert np.abs(run(model, image) - exact_norm(image)).max() < 5e-6


def test_norms_of_large_images_keep_the_digits_that_onnx_runtime_loses() -> None:
    shape = [2, 160, 160, 160]
    image = np.random.default_rng(1).standard_normal((1, *shape), dtype=np.float32)
    exact = exact_norm(image)
    theirs = np.abs(run(norm_model(shape), image) - exact).max()
    ours = np.abs(run(with_steady_norms(norm_model(shape)), image) - exact).max()
    assert ours < 1e-5
    assert theirs > 10 * ours


def test_a_layout_turns_scales_and_reorders_as_numpy_does() -> None:
    axes, scale, offset = (2, 0, 1), np.array([2.0, 3.0]), np.array([1.0, -1.0])
    # Image (5, 4, 3) is (3, 5, 4) for the network, which adds a ramp along its first axis.
    ramp = np.arange(3, dtype=np.float32).reshape(1, 1, 3, 1, 1)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2, 3, 5, 4]) for name in "xy"]
    constants = [numpy_helper.from_array(ramp, "r")]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "r"], ["y"])], "g", ends[:1], ends[1:], constants
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    layout = Layout(axes, tuple(scale), tuple(offset), (1, 0))
    model = with_layout(model, layout, (2, 5, 4, 3), (2, 5, 4, 3))
    image = np.random.default_rng(1).standard_normal((2, 2, 5, 4, 3), dtype=np.float32)
    expected = image * scale.reshape(1, 2, 1, 1, 1) + offset.reshape(1, 2, 1, 1, 1) + np.arange(3)
    assert np.abs(run(model, image) - expected[:, ::-1]).max() < 1e-6
