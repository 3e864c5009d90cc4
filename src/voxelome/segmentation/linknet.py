"""A three-dimensional LinkNet as ONNX, in the operators that ONNX Runtime is fast in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voxelome.segmentation.torchscript import Weights

OPSET = 17
# Of the ONNX file format; what ONNX Runtime reads since 1.11.
IR_VERSION = 8
# Of the first convolution, that are made at a time.
_PLANES = 16
# Of torch.nn.InstanceNorm3d.
EPSILON = 1e-5


def linknet_onnx(weights: Weights, name: str, edge: int) -> bytes:
    """ONNX file of a three-dimensional LinkNet; the same bytes every time.

    Four levels down, of two residual blocks each, and four levels up, each with a shortcut from the way
    down (Chaurasia and Culurciello, VCIP 2017). Follows the code of deepbet 1.0.2 as its TorchScript
    files hold it.

    Parameters
    ----------
    weights : dict of str to ndarray
        Of :func:`read_weights`.
    name : str
        Name of the graph.
    edge : int
        The network maps ``image``, shape (1, 1, edge, edge, edge), to ``probability`` of the foreground, of
        the same shape.
    """
    from onnx import TensorProto, helper, numpy_helper

    layers = _Layers(weights, edge)
    _linknet(layers)
    cube = [edge] * 3
    graph = helper.make_graph(
        layers.nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, *cube])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [1, 1, *cube])],
        [numpy_helper.from_array(value, key) for key, value in layers.constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="voxelome")
    return bytes(model.SerializeToString(deterministic=True))


def _linknet(layers: _Layers) -> None:
    """Write the network, from ``image`` to ``probability``."""
    x = layers.first("init.0")
    skips = []
    for level in range(4):
        skips.append(x)
        x = layers.block(x, f"down{level}.block1", stride=1 if level == 0 else 2)
        x = layers.block(x, f"down{level}.block2", stride=1)
    for level in range(4):
        x = layers.conv_norm_relu(x, f"up{level}.conv1", pad=0)
        # The first level down does not shrink, so the last level up does not grow.
        x = layers.grow_norm_relu(x, f"up{level}.tp_conv", stride=1 if level == 3 else 2)
        x = layers.conv_norm_relu(x, f"up{level}.conv2", pad=0)
        x = layers.add("Add", [x, skips.pop()], f"up{level}.sum")
    x = layers.grow_norm_relu(x, "tp_conv1", stride=2)
    x = layers.conv_norm_relu(x, "conv", pad=1)
    # A softmax of two channels is the sigmoid of their difference, which the last convolution gives at once:
    # over 256^3 voxels the softmax alone took a third of the time.
    layers.differ("tp_conv2")
    x = layers.grow(x, "tp_conv2", stride=2, pad=0)
    layers.add("Sigmoid", [x], "probability")


class _Layers:
    """Nodes and constants of an ONNX graph, layer by layer; methods return the name of their output."""

    def __init__(self, weights: Weights, edge: int) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        # Of the cubes that outputs are.
        self.edges: dict[str, int] = {"image": edge}

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Any operator."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        if inputs[0] in self.edges:
            self.edges[output] = self.edges[inputs[0]]
        return output

    def differ(self, name: str) -> None:
        """Make a transposed convolution to two channels one to their difference, second minus first."""
        for part, axis in (("weight", 1), ("bias", 0)):
            if (held := self.weights.get(f"{name}.{part}")) is not None:
                self.weights = {**self.weights, f"{name}.{part}": np.diff(held, axis=axis)}

    def conv(self, x: str, name: str, stride: int, pad: int) -> str:
        """Convolution, with a bias where the weights have one."""
        held = [f"{name}.{part}" for part in ("weight", "bias") if f"{name}.{part}" in self.weights]
        self.constants.update((key, self.weights[key]) for key in held)
        kernel = list(self.weights[f"{name}.weight"].shape[2:])
        attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": [stride] * 3, "pads": [pad] * 6}
        made = self.add("Conv", [x, *held], name, **attributes)
        self.edges[made] = self.edges[x] // stride
        return made

    def grow(self, x: str, name: str, stride: int, pad: int) -> str:
        """Transposed convolution of kernels of 2 or 3, whose output is exactly `stride` times the input.

        As a convolution, whose channels are then dealt out to the `stride`^3 voxels that each voxel becomes:
        ONNX Runtime takes much more time and memory for a transposed one.
        """
        weight, edge = self.weights[f"{name}.weight"], self.edges[x]
        taps = _taps(weight.shape[-1], stride, pad)
        spread = np.einsum("ioabc,pda,qeb,rfc->opqridef", weight, *[taps.of] * 3)
        made = [f"{name}.weight"]
        self.constants[made[0]] = np.ascontiguousarray(spread.reshape(-1, *spread.shape[4:]), np.float32)
        if (bias := self.weights.get(f"{name}.bias")) is not None:
            made.append(f"{name}.bias")
            self.constants[made[1]] = np.repeat(bias, stride**3)
        pads = [taps.before] * 3 + [taps.after] * 3
        span = [taps.before + taps.after + 1] * 3
        x = self.add("Conv", [x, *made], name, kernel_shape=span, pads=pads)
        if stride > 1:
            channels = weight.shape[1]
            shapes = {
                "apart": [channels, *[stride] * 3, *[edge] * 3],
                "whole": [1, channels, *[edge * stride] * 3],
            }
            self.constants |= {f"{name}.{key}.shape": np.array(value) for key, value in shapes.items()}
            x = self.add("Reshape", [x, f"{name}.apart.shape"], f"{name}.apart")
            x = self.add("Transpose", [x], f"{name}.dealt", perm=[0, 4, 1, 5, 2, 6, 3])
            x = self.add("Reshape", [x, f"{name}.whole.shape"], f"{name}.whole")
        self.edges[x] = edge * stride
        return x

    def first(self, name: str) -> str:
        """Convolution of ``image`` with stride 2, normalisation, rectifier, and pooling of 3 with stride 2.

        That was a third of the time. ONNX Runtime has a fast convolution of planes, and none of volumes: here
        the planes that one plane of the output sees are channels of a plane. And as normalisation and
        rectifier keep the order of values, pooling may come before them, and leave them an eighth to do. A
        few planes at a time take little memory.
        """
        weight, edge = self.weights[f"{name}.weight"][:, 0], self.edges["image"]
        self.constants |= {f"{name}.weight": np.ascontiguousarray(weight), "volume": np.array([edge] * 3)}
        image = self.add("Reshape", ["image", "volume"], "planes")
        parts = [self._some_planes(image, name, edge, start) for start in range(0, edge // 2, _PLANES)]
        pooled, means, variances = (
            self.add("Concat", list(each), f"{name}.{of}", axis=0)
            for of, each in zip(("pooled", "means", "variances"), zip(*parts, strict=True), strict=True)
        )
        # The variance of all is the mean of the planes' own, and that of their means.
        mean = self.add("ReduceMean", [means], f"{name}.mean", axes=[0])
        apart = self.add("Sub", [means, mean], f"{name}.apart")
        apart = self.add("Mul", [apart, apart], f"{name}.apart.squared")
        square = self._mean(self.add("Add", [variances, apart], f"{name}.squares"), f"{name}.square", (0,))
        x = self.add("Sub", [pooled, mean], f"{name}.centred")
        x = self.add("Div", [x, self._deviation(square, name)], f"{name}.norm")
        x = self.add(
            "Transpose", [self.add("Relu", [x], f"{name}.relu")], f"{name}.turned", perm=[1, 0, 2, 3]
        )
        x = self.add("Unsqueeze", [x, "first"], f"{name}.volume")
        across = {"kernel_shape": [3, 1, 1], "strides": [2, 1, 1], "pads": [1, 0, 0, 1, 0, 0]}
        x = self.add("MaxPool", [x], "pool", **across)
        self.edges[x] = edge // 4
        return x

    def _some_planes(self, image: str, name: str, edge: int, start: int) -> tuple[str, str, str]:
        """Planes of the first convolution, pooled, with the mean and the variance of each."""
        size = self.weights[f"{name}.weight"].shape[-1]
        pad, part = size // 2, f"{name}.{start}"
        # Planes of the image that these see, and those that are missing at its ends.
        seen = 2 * start - pad + 2 * np.arange(_PLANES)[:, np.newaxis] + np.arange(size)
        low, high = max(int(seen.min()), 0), min(int(seen.max()) + 1, edge)
        before, after = low - int(seen.min()), int(seen.max()) + 1 - high
        self.constants |= {
            f"{part}.low": np.array([low]),
            f"{part}.high": np.array([high]),
            "first": np.array([0]),
            "seen": seen - seen.min(),
        }
        x = self.add("Slice", [image, f"{part}.low", f"{part}.high", "first"], f"{part}.planes")
        if before or after:
            self.constants[f"{part}.padding"] = np.array([before, 0, 0, after, 0, 0])
            x = self.add("Pad", [x, f"{part}.padding"], f"{part}.padded")
        x = self.add("Gather", [x, "seen"], f"{part}.seen", axis=0)
        plane = {"kernel_shape": [size] * 2, "strides": [2] * 2, "pads": [pad] * 4}
        x = self.add("Conv", [x, f"{name}.weight"], part, **plane)
        mean = self._mean(x, f"{part}.mean", (3, 2))
        variance = self._mean(self._squared(x, mean, part)[1], f"{part}.variance", (3, 2))
        pool: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
        return self.add("MaxPool", [x], f"{part}.pooled", **pool), mean, variance

    def conv_norm(self, x: str, name: str, stride: int, pad: int) -> str:
        """Convolution, then normalisation."""
        return self._norm(self.conv(x, name, stride, pad), name)

    def conv_norm_relu(self, x: str, name: str, pad: int) -> str:
        """Convolution, normalisation, rectifier: the first three members of a torch ``Sequential``."""
        x = self.conv_norm(x, f"{name}.0", 1, pad)
        return self.add("Relu", [x], f"{name}.relu")

    def grow_norm_relu(self, x: str, name: str, stride: int) -> str:
        """Transposed convolution, normalisation, rectifier, likewise."""
        x = self._norm(self.grow(x, f"{name}.0", stride, pad=1), f"{name}.0")
        return self.add("Relu", [x], f"{name}.relu")

    def _norm(self, x: str, name: str) -> str:
        """Each channel with mean 0 and variance 1 over the image itself.

        Not by the operator InstanceNormalization: over millions of voxels its rounding in ONNX Runtime moves
        probabilities by up to 0.02. With means of means they stay within 1e-4 of those of torch.
        """
        centred, squared = self._squared(x, self._mean(x, f"{name}.mean", (4, 3, 2)), name)
        square = self._mean(squared, f"{name}.square", (4, 3, 2))
        return self.add("Div", [centred, self._deviation(square, name)], f"{name}.norm")

    def _mean(self, x: str, name: str, axes: tuple[int, ...]) -> str:
        """Mean of each channel: of rows, then of planes, then of all."""
        for axis in axes:
            x = self.add("ReduceMean", [x], name if axis == axes[-1] else f"{name}{axis}", axes=[axis])
        return x

    def _squared(self, x: str, mean: str, name: str) -> tuple[str, str]:
        """What is left without the mean, and its square."""
        centred = self.add("Sub", [x, mean], f"{name}.centred")
        return centred, self.add("Mul", [centred, centred], f"{name}.squared")

    def _deviation(self, square: str, name: str) -> str:
        """Standard deviation, from the mean square."""
        self.constants["epsilon"] = np.array(EPSILON, np.float32)
        return self.add("Sqrt", [self.add("Add", [square, "epsilon"], f"{name}.variance")], f"{name}.sd")

    def block(self, x: str, name: str, stride: int) -> str:
        """Two convolutions and a way around them (He et al., CVPR 2016)."""
        around = x
        if f"{name}.downsample.0.weight" in self.weights:
            around = self.conv_norm(x, f"{name}.downsample.0", stride, pad=0)
        x = self.conv_norm(x, f"{name}.double_conv.0", stride, pad=1)
        x = self.add("Relu", [x], f"{name}.double_conv.relu")
        x = self.conv_norm(x, f"{name}.double_conv.3", stride=1, pad=1)
        x = self.add("Add", [x, around], f"{name}.sum")
        return self.add("Relu", [x], f"{name}.relu")


class _Taps(NamedTuple):
    """Which weights of a transposed convolution fall on which voxels, along one axis.

    Attributes
    ----------
    of : ndarray, shape (stride, before + 1 + after, kernel)
        1 where a voxel of the output takes the voxel of the input that is so far away with this weight.
    before, after : int
        How far back and ahead the output looks in the input.
    """

    of: NDArray[np.float64]
    before: int
    after: int


def _taps(kernel: int, stride: int, pad: int) -> _Taps:
    """Voxel o of the output is the sum of input i times weight k where o = stride i - pad + k."""
    found = [
        (phase, (phase + pad - k) // stride, k)
        for phase in range(stride)
        for k in range(kernel)
        if (phase + pad - k) % stride == 0
    ]
    before, after = -min(away for _, away, _ in found), max(away for _, away, _ in found)
    taps = np.zeros((stride, before + 1 + after, kernel))
    for phase, away, k in found:
        taps[phase, before + away, k] = 1
    return _Taps(taps, before, after)
