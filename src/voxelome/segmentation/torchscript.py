"""The network of a TorchScript file as ONNX, without torch and without running anything that is in it.

:func:`read_weights` takes the tensors out of the file, and :func:`linknet_onnx` puts them into the graph
of a three-dimensional LinkNet.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voxelome.claims import check_archive_claim
from voxelome.errors import InputError

Weights = dict[str, NDArray[np.float32]]

OPSET = 17
# Of the ONNX file format; what ONNX Runtime reads since 1.11.
IR_VERSION = 8
# Of torch.nn.InstanceNorm3d.
EPSILON = 1e-5

# How a damaged archive fails; the last two, when its pickle works on the wrong type.
_DAMAGE = (
    OSError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    ValueError,
    AttributeError,
    TypeError,
)
REMEDY = "install the package again that it belongs to"


class _Module:
    """Stands for any class of the network: it takes attributes and does nothing."""


class _FloatStorage:
    """Names the one storage type that is read: float32."""


def read_weights(path: Path) -> Weights:
    """Tensors of a TorchScript file by their dotted names, as ``state_dict`` of torch names them.

    Such a file is a zip archive: ``data.pkl`` is a pickle of the tree of modules, whose tensors refer to
    the raw little-endian files ``data/0``, ``data/1`` and so on. A pickle may name any function to be
    called; this reader knows only the few names that a tree of modules needs and refuses all others.

    Parameters
    ----------
    path : path
        File written by ``torch.jit.save``.

    Returns
    -------
    dict of str to ndarray of float32

    Raises
    ------
    InputError
        No such archive, or its pickle names something else than modules and float32 tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive_claim(path, archive)
            root = archive.namelist()[0].split("/")[0]
            return dict(_tensors(_Reader(path, archive, root).load(), ""))
    except _DAMAGE as error:
        problem = f"cannot be read as TorchScript ({' '.join(str(error).split()) or type(error).__name__})"
        raise InputError(path, problem, REMEDY) from error


def _tensors(module: Any, prefix: str) -> list[tuple[str, NDArray[np.float32]]]:
    """Pairs of name and tensor of a module and all below it."""
    found: list[tuple[str, NDArray[np.float32]]] = []
    for name, value in vars(module).items():
        if isinstance(value, np.ndarray):
            found.append((prefix + name, value))
        elif isinstance(value, _Module):
            found += _tensors(value, f"{prefix}{name}.")
    return found


def _rebuild_tensor(
    storage: NDArray[np.float32], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> NDArray[np.float32]:
    """Stands for ``torch._utils._rebuild_tensor_v2``: a tensor out of its storage, checked against it."""
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if offset < 0 or min((*size, *stride), default=1) < 1 or last >= storage.size:
        raise ValueError(f"a tensor of shape {size} does not fit its {storage.size} stored values")
    steps = tuple(step * storage.itemsize for step in stride)
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(storage[offset:], size, steps))


class _Reader(pickle.Unpickler):
    """Unpickler that resolves modules, tensors and float32 storages, and nothing else."""

    KNOWN: ClassVar[dict[tuple[str, str], Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch", "FloatStorage"): _FloatStorage,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    }

    def __init__(self, path: Path, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._path = path
        self._archive = archive
        self._root = root

    def find_class(self, module: str, name: str) -> Any:
        """Stand-in of a class or function that the pickle names."""
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if (module, name) not in self.KNOWN:
            raise InputError(self._path, f"its pickle calls {module}.{name}, which no network needs", REMEDY)
        return self.KNOWN[module, name]

    def persistent_load(self, reference: Any) -> NDArray[np.float32]:
        """Values of one storage: ('storage', type, file name, device, number of values)."""
        kind, storage_type, key, _, count = reference
        if kind != "storage" or storage_type is not _FloatStorage or not str(key).isdigit():
            raise ValueError(f"unknown kind of storage {key}")
        values = np.frombuffer(self._archive.read(f"{self._root}/data/{key}"), dtype="<f4")
        if values.size != count:
            raise ValueError(f"storage {key} has {values.size} values, not {count}")
        return values.astype(np.float32, copy=False)


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

    layers = _Layers(weights)
    _linknet(layers, edge)
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


def _linknet(layers: _Layers, edge: int) -> None:
    """Write the network, from ``image`` to ``probability``."""
    x = layers.first("init.0", edge)
    skips = []
    for level in range(4):
        skips.append(x)
        x = layers.block(x, f"down{level}.block1", stride=1 if level == 0 else 2)
        x = layers.block(x, f"down{level}.block2", stride=1)
    for level in range(4):
        x = layers.conv_norm_relu(x, f"up{level}.conv1", stride=1, pad=0)
        # The first level down does not shrink, so the last level up does not grow.
        stride = 1 if level == 3 else 2
        x = layers.conv_norm_relu(x, f"up{level}.tp_conv", stride, pad=1, transposed=True)
        x = layers.conv_norm_relu(x, f"up{level}.conv2", stride=1, pad=0)
        x = layers.add("Add", [x, skips.pop()], f"up{level}.sum")
    x = layers.conv_norm_relu(x, "tp_conv1", stride=2, pad=1, transposed=True)
    x = layers.conv_norm_relu(x, "conv", stride=1, pad=1)
    # A softmax of two channels is the sigmoid of their difference, which the last convolution gives at once:
    # over 256^3 voxels the softmax alone took a third of the time.
    layers.differ("tp_conv2")
    x = layers.conv(x, "tp_conv2", stride=2, pad=0, transposed=True)
    layers.add("Sigmoid", [x], "probability")


class _Layers:
    """Nodes and constants of an ONNX graph, layer by layer; methods return the name of their output."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.constants: Weights = {}

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Any operator."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def differ(self, name: str) -> None:
        """Make a transposed convolution to two channels one to their difference, second minus first."""
        for part, axis in (("weight", 1), ("bias", 0)):
            if (held := self.weights.get(f"{name}.{part}")) is not None:
                self.weights = {**self.weights, f"{name}.{part}": np.diff(held, axis=axis)}

    def conv(self, x: str, name: str, stride: int, pad: int, transposed: bool = False) -> str:
        """Convolution, with a bias where the weights have one."""
        held = [f"{name}.{part}" for part in ("weight", "bias") if f"{name}.{part}" in self.weights]
        self.constants.update((key, self.weights[key]) for key in held)
        kernel = list(self.weights[f"{name}.weight"].shape[2:])
        attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": [stride] * 3, "pads": [pad] * 6}
        if transposed:
            # So much more at the end that the output is exactly `stride` times the input.
            attributes["output_padding"] = [stride - kernel[0] + 2 * pad] * 3
        return self.add("ConvTranspose" if transposed else "Conv", [x, *held], name, **attributes)

    def first(self, name: str, edge: int) -> str:
        """Convolution of ``image`` with stride 2, normalisation, rectifier, and pooling of 3 with stride 2.

        That was a third of the time. ONNX Runtime has a fast convolution of planes, and none of volumes: here
        the planes that one plane of the output sees are channels of a plane. And as normalisation and
        rectifier keep the order of values, pooling may come before them, and leave them an eighth to do.
        """
        weight = self.weights[f"{name}.weight"][:, 0]
        size = weight.shape[1]
        pad = size // 2
        seen = 2 * np.arange(edge // 2)[:, np.newaxis] + np.arange(size)
        self.constants |= {
            f"{name}.weight": np.ascontiguousarray(weight),
            "volume": np.array([edge] * 3),
            "padded": np.array([pad, 0, 0, pad, 0, 0]),
            "seen": seen,
            "one": np.array([0]),
        }
        x = self.add("Pad", [self.add("Reshape", ["image", "volume"], "planes"), "padded"], "planes.padded")
        x = self.add("Gather", [x, "seen"], "planes.seen", axis=0)
        plane = {"kernel_shape": [size] * 2, "strides": [2] * 2, "pads": [pad] * 4}
        x = self.add("Conv", [x, f"{name}.weight"], name, **plane)
        mean, sd = self._moments(x, name, axes=(3, 2, 0))[1:]
        pool: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
        x = self.add("MaxPool", [x], "pool.planes", **pool)
        x = self.add("Div", [self.add("Sub", [x, mean], "pool.centred"), sd], "pool.norm")
        x = self.add("Transpose", [self.add("Relu", [x], "pool.relu")], "pool.turned", perm=[1, 0, 2, 3])
        x = self.add("Unsqueeze", [x, "one"], "pool.volume")
        across = {"kernel_shape": [3, 1, 1], "strides": [2, 1, 1], "pads": [1, 0, 0, 1, 0, 0]}
        return self.add("MaxPool", [x], "pool", **across)

    def conv_norm(self, x: str, name: str, stride: int, pad: int, transposed: bool = False) -> str:
        """Convolution, then each channel to mean 0 and variance 1 over the image itself."""
        centred, _, sd = self._moments(self.conv(x, name, stride, pad, transposed), name, axes=(4, 3, 2))
        return self.add("Div", [centred, sd], f"{name}.norm")

    def _moments(self, x: str, name: str, axes: tuple[int, int, int]) -> tuple[str, str, str]:
        """What is left without the mean of each channel, the mean, and the standard deviation.

        Not by the operator InstanceNormalization: over millions of voxels its rounding in ONNX Runtime moves
        probabilities by up to 0.02. With means of means they stay within 1e-4 of those of torch.
        """
        mean = self._mean(x, f"{name}.mean", axes)
        centred = self.add("Sub", [x, mean], f"{name}.centred")
        squared = self.add("Mul", [centred, centred], f"{name}.squared")
        self.constants["epsilon"] = np.array(EPSILON, np.float32)
        variance = self.add(
            "Add", [self._mean(squared, f"{name}.square", axes), "epsilon"], f"{name}.variance"
        )
        return centred, mean, self.add("Sqrt", [variance], f"{name}.sd")

    def _mean(self, x: str, name: str, axes: tuple[int, int, int]) -> str:
        """Mean of each channel: of rows, then of planes, then of all."""
        for axis in axes:
            x = self.add("ReduceMean", [x], name if axis == axes[-1] else f"{name}{axis}", axes=[axis])
        return x

    def conv_norm_relu(self, x: str, name: str, stride: int, pad: int, transposed: bool = False) -> str:
        """Convolution, normalisation, rectifier: the first three members of a torch ``Sequential``."""
        x = self.conv_norm(x, f"{name}.0", stride, pad, transposed)
        return self.add("Relu", [x], f"{name}.relu")

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
