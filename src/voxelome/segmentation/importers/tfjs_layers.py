"""Layers of a TF.js model as operators of an ONNX graph.

References
----------
TensorFlow.js, tfjs-layers, activations.ts and layers/convolutional.ts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import InputError
from voxelome.segmentation.importers.tfjs_weights import Weights

# Gelu came with opset 20; ONNX Runtime 1.20 knows up to 21.
OPSET, IR_VERSION = 20, 9
# Of torch.nn.GroupNorm, and of brainchop's own.
EPSILON = 1e-5
# brainchop's exporter has no layer for the normalisation of each channel over the image: it marks the name.
NORMALISED = "_gn"
# Of TensorProto.
FLOAT = 1

ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "elu": ("Elu", {}),
    "gelu": ("Gelu", {}),
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "relu": ("Relu", {}),
    "selu": ("Selu", {}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", {"axis": 1}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "tanh": ("Tanh", {}),
}
# They do something in training only.
SILENT = {"InputLayer", "Dropout", "SpatialDropout3D", "GaussianDropout", "GaussianNoise", "AlphaDropout"}
REMEDY = "export the network as ONNX, and give it the framework onnx"


class LayerGraph:
    """Nodes and constants of an ONNX graph; methods return the name of their output.

    Parameters
    ----------
    path : path
        The ``model.json``, for what is said about it.
    weights : dict
        Of :func:`~voxelome.segmentation.importers.tfjs_weights.read_weights`.
    """

    def __init__(self, path: Path, weights: Weights) -> None:
        self.path = path
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.channels = 0

    def to_bytes(self, name: str, channels: int) -> bytes:
        """ONNX file that maps ``image`` to ``output``; the same bytes every time."""
        from onnx import TensorProto, helper, numpy_helper

        if not self.channels:
            raise InputError(self.path, "holds no convolution", REMEDY)
        self.nodes[-1].output[0] = "output"
        space = ["x", "y", "z"]
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", channels, *space])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", self.channels, *space])],
            [numpy_helper.from_array(value, key) for key, value in self.constants.items()],
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="voxelome"
        )
        return bytes(model.SerializeToString(deterministic=True))

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Any operator."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any, kind: type[np.generic] = np.float32) -> str:
        """A constant tensor."""
        self.constants[name] = np.ascontiguousarray(values, dtype=kind)
        return name

    def weight(self, layer: str, name: str) -> Any:
        """A weight of a layer."""
        if (layer, name) not in self.weights:
            remedy = "export the network again, with its weights"
            raise InputError(self.path, f"layer {layer!r} has no weights named {name!r}", remedy)
        return self.weights[layer, name]

    def layer(self, layer: Mapping[str, Any], x: str) -> str:
        """A layer of the model on `x`."""
        kind, config = layer["class_name"], layer["config"]
        name = config["name"]
        if kind in SILENT:
            return x
        if kind == "Conv3D":
            x = self._convolution(config, x)
            if name.endswith(NORMALISED):
                x = self._normalise(name, x)
            return self._activation(name, config.get("activation", "linear"), x, f"{name}/activation")
        if kind == "BatchNormalization":
            return self._batch_norm(config, x)
        if kind == "Activation":
            return self._activation(name, config["activation"], x, name)
        if kind in ("ReLU", "Softmax"):
            return self._activation(name, kind.lower(), x, name)
        if kind in ("ELU", "LeakyReLU"):
            alpha = float(config.get("alpha", 1.0 if kind == "ELU" else 0.3))
            return self.add(kind.replace("ELU", "Elu").replace("ReLU", "Relu"), [x], name, alpha=alpha)
        raise InputError(self.path, f"layer {name!r} is a {kind}, which is not known", REMEDY)

    def _convolution(self, config: Mapping[str, Any], x: str) -> str:
        """Convolution of stride 1 whose output has the size of its input."""
        name, padding, strides = config["name"], config.get("padding", "valid"), config.get("strides", 1)
        if padding != "same" or set(np.atleast_1d(strides)) != {1}:
            problem = (
                f"layer {name!r} has strides {strides} and {padding!r} padding, so its output is smaller"
            )
            raise InputError(self.path, problem, REMEDY)
        # TF.js keeps kernels as depth, height, width, in, out; ONNX as out, in, depth, height, width.
        kernel = np.transpose(self.weight(name, "kernel"), (4, 3, 0, 1, 2))
        inputs = [x, self.constant(f"{name}/kernel", kernel)]
        self.channels = kernel.shape[0]
        if config.get("use_bias", True):
            inputs.append(self.constant(f"{name}/bias", self.weight(name, "bias")))
        size = kernel.shape[2:]
        dilation = np.broadcast_to(config.get("dilation_rate", 1), 3).tolist()
        around = [(length - 1) * step for length, step in zip(size, dilation, strict=True)]
        before = [total // 2 for total in around]
        after = [total - half for total, half in zip(around, before, strict=True)]
        group = int(config.get("groups", 1))
        return self.add(
            "Conv", inputs, name, kernel_shape=size, dilations=dilation, pads=before + after, group=group
        )

    def _normalise(self, name: str, x: str) -> str:
        """Each channel to mean 0 and variance 1 over the image.

        Not by InstanceNormalization, whose sums over millions of voxels are rounded in ONNX Runtime: by means
        of means. No image of squares is made, which would be as large as the channels themselves.
        """
        centred = self.add("Sub", [x, self._mean(x, f"{name}/mean", (4, 3, 2))], f"{name}/centred")
        squares = self.add("ReduceSumSquare", [centred, self._axis(4)], f"{name}/squares")
        length = self.add("Shape", [x], f"{name}/length", start=4)
        length = self.add("Cast", [length], f"{name}/count", to=FLOAT)
        squares = self.add("Div", [squares, length], f"{name}/square")
        variance = self._mean(squares, f"{name}/variance", (3, 2))
        epsilon = self.constant("epsilon", EPSILON)
        spread = self.add("Sqrt", [self.add("Add", [variance, epsilon], f"{name}/positive")], f"{name}/sd")
        return self.add("Div", [centred, spread], f"{name}/normalised")

    def _mean(self, x: str, name: str, axes: tuple[int, ...]) -> str:
        """Mean over one axis after the other."""
        for axis in axes:
            x = self.add("ReduceMean", [x, self._axis(axis)], f"{name}{axis}")
        return x

    def _axis(self, axis: int) -> str:
        return self.constant(f"axis{axis}", [axis], np.int64)

    def _batch_norm(self, config: Mapping[str, Any], x: str) -> str:
        """Normalisation with the mean and variance of training."""
        name = config["name"]
        mean = self.weight(name, "moving_mean")
        held = {
            "gamma": self.weight(name, "gamma") if config.get("scale", True) else np.ones_like(mean),
            "beta": self.weight(name, "beta") if config.get("center", True) else np.zeros_like(mean),
            "mean": mean,
            "variance": self.weight(name, "moving_variance"),
        }
        inputs = [x, *(self.constant(f"{name}/{key}", value) for key, value in held.items())]
        return self.add("BatchNormalization", inputs, name, epsilon=float(config.get("epsilon", 1e-3)))

    def _activation(self, layer: str, kind: str, x: str, output: str) -> str:
        """Activation by its name in TF.js."""
        if kind == "linear":
            return x
        if kind not in ACTIVATIONS:
            problem = f"layer {layer!r} has the activation {kind!r}, which is not known"
            raise InputError(self.path, problem, REMEDY)
        operator, attributes = ACTIVATIONS[kind]
        return self.add(operator, [x], output, **attributes)
