"""The one way to read and to write an image, a table and a JSON file.

Outputs appear whole or not at all: they are written under a temporary name beside the
target and renamed.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from voxelome.claims import check_image_claim, check_json_claim
from voxelome.errors import InputError, storage_error

Array = NDArray[Any]
FloatArray = NDArray[np.floating[Any]]
MaskArray = NDArray[np.bool_]
Affine = NDArray[np.float64]
Form = Literal["auto", "sform", "qform"]
_BLOCK = 16
# How the names of half-written files begin; a killed process leaves them.
TEMPORARY = ".tmp-"


# How a damaged image fails; the second row, by its header.
_DAMAGE = (
    *(ImageFileError, EOFError, OSError, ValueError, zlib.error),
    *(HeaderDataError, HeaderTypeError, WrapStructError, OverflowError),
)


@dataclass(frozen=True)
class Volume:
    """An image in memory.

    Attributes
    ----------
    data : ndarray
        Voxel values, scaled by the header's slope and intercept.
    affine : ndarray, shape (4, 4)
        Voxel indices to world coordinates (RAS+, mm).
    slope, intercept : float
        The header's scaling, already applied (phase needs to know it).
    stored : numpy.dtype
        The type on disk.
    qform, sform : ndarray, shape (4, 4), or None
        The header's two statements of where the voxels lie; None where its code is 0 (unknown).
    """

    data: Array
    affine: Affine
    slope: float
    intercept: float
    stored: np.dtype[Any]
    qform: Affine | None = None
    sform: Affine | None = None

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel sizes in mm."""
        return voxel_sizes(self.affine)


def voxel_sizes(affine: Affine) -> tuple[float, ...]:
    """Voxel sizes in mm of an affine of shape (4, 4)."""
    return tuple(float(size) for size in np.linalg.norm(affine[:3, :3], axis=0))


def load_volume(path: Path | str, dtype: type[np.generic] | None = np.float32, form: Form = "auto") -> Volume:
    """Read an image, whole; axes of length 1 behind the third are left out.

    Parameters
    ----------
    path : path
        NIfTI image.
    dtype : numpy scalar type or None
        Type of the array; None keeps what the file has (labels).
    form : {'auto', 'sform', 'qform'}
        Which of the header's affines counts where it has both; ``auto`` is the sform.

    Raises
    ------
    InputError
        The file is absent, truncated, no image, or holds colours or complex numbers; or its header claims
        more than the file can hold, or than fits into memory.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "there is no such image", "check the name, or fetch the file")
    check_image_claim(path)
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Image):
            raise InputError(path, f"is {type(image).__name__}, not NIfTI", "convert it to .nii.gz")
        stored = image.get_data_dtype()
        if stored.kind not in "biuf":
            kind = "complex numbers" if stored.kind == "c" else f"values of type {stored}"
            raise InputError(path, f"holds {kind}", "give one number a voxel (of complex data, two images)")
        slope, intercept = float(image.dataobj.slope), float(image.dataobj.inter)
        data = np.asanyarray(image.dataobj)
        qform, sform = image.get_qform(coded=True)[0], image.get_sform(coded=True)[0]
    except _DAMAGE as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            path, f"cannot be read as an image ({text})", "copy or convert the file again"
        ) from error
    if dtype is not None:
        data = data.astype(dtype, copy=False)
    elif slope == 1.0 and intercept == 0.0 and np.issubdtype(stored, np.integer):
        data = data.astype(stored, copy=False)
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    affine = qform if form == "qform" and qform is not None else image.affine
    return Volume(data, np.asarray(affine, dtype=np.float64), slope, intercept, stored, qform, sform)


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success rename it to `path`, on error remove it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The whole name stays at the end, because writers choose the format by it.
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        known = storage_error(error, path)
        if known is None:
            raise
        raise known from error
    finally:
        # Where nothing can be written, nothing can be removed: the error above says it.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def save_volume(
    path: Path | str, data: Array, affine: Affine, sidecar: Mapping[str, Any] | None = None
) -> Path:
    """Write an image as NIfTI and, where given, its JSON sidecar; return `path`.

    Booleans and integers keep the smallest type that holds them, all else is float32.
    """
    path = Path(path)
    if data.dtype == np.bool_:
        data = data.astype(np.uint8)
    elif not np.issubdtype(data.dtype, np.integer):
        data = data.astype(np.float32, copy=False)
    elif data.dtype.itemsize > 2:
        data = data.astype(np.int32 if data.size and np.abs(data).max() > 32767 else np.int16)
    image = nib.Nifti1Image(_in_file_order(data), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    with replacing(path) as temporary:
        nib.save(image, temporary)
    if sidecar is not None:
        save_json(sidecar_path(path), sidecar)
    return path


def _in_file_order(data: Array) -> Array:
    """Return an image with its first axis running fastest, as in the file.

    In blocks, which stay in the cache: nibabel, plane by plane, takes five times as long.
    """
    if data.ndim < 2 or data.flags.f_contiguous:
        return data
    ordered = np.empty(data.shape, data.dtype, order="F")
    for i in range(0, data.shape[0], _BLOCK):
        for j in range(0, data.shape[-1], _BLOCK):
            ordered[i : i + _BLOCK, ..., j : j + _BLOCK] = data[i : i + _BLOCK, ..., j : j + _BLOCK]
    return ordered


def sidecar_path(path: Path | str) -> Path:
    """Path of the JSON file that belongs to an image or a table."""
    path = Path(path)
    return path.with_name(path.name.split(".")[0] + ".json")


def load_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML (or JSON) file that holds a mapping; an unreadable one is an InputError that says where."""
    import yaml

    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check the name") from error
    except UnicodeDecodeError as error:
        raise InputError(path, "is not UTF-8 text", "save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise InputError(path, f"is not YAML ({' '.join(str(error).split())})", "mend it") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(path, "holds no settings", "write 'name: value' lines")
    return content


def load_json(path: Path | str) -> dict[str, Any]:
    """Read a JSON object; an unreadable one is an InputError that says where."""
    path = Path(path)
    try:
        check_json_claim(path)
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check that it exists") from error
    except UnicodeDecodeError as error:
        raise InputError(path, "is not UTF-8 text", "save it as UTF-8") from error
    except RecursionError as error:
        raise InputError(path, "is nested too deeply", "mend or remove the file") from error
    except json.JSONDecodeError as error:
        raise InputError(
            path, f"is not JSON ({error.msg}, line {error.lineno})", "mend or remove the file"
        ) from error
    if not isinstance(content, dict):
        raise InputError(path, "holds no JSON object", "it must start with '{'")
    return content


def save_json(path: Path | str, content: Mapping[str, Any]) -> Path:
    """Write a JSON object, keys in the order given; return `path`."""
    return save_text(path, json.dumps(content, indent=2, default=_plain, allow_nan=False) + "\n")


def save_text(path: Path | str, text: str) -> Path:
    """Write text as UTF-8, whole or not at all; return `path`."""
    path = Path(path)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _plain(value: object) -> object:
    """Make numpy scalars, arrays and paths fit for JSON."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not go into JSON")
