"""The weights of a TorchScript file, without torch and without running anything that is in it."""

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
