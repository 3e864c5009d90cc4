"""Sizes that files claim to have: refused where they cannot be true or do not fit, before memory is taken."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from voxelome.errors import InputError
from voxelome.memory import memory_free

# Deflate makes of one byte no more than this (zlib, "Maximum Expansion Factor").
MOST_BYTES = 1032
# The largest JSON file of metadata that anyone has is far smaller.
MOST_JSON = 2**28
_NIFTI1, _NIFTI2 = 348, 540


def check_image_claim(path: Path) -> None:
    """Refuse a NIfTI file whose header claims more than the file can hold, or than there is memory for.

    Parameters
    ----------
    path : path
        ``.nii`` or ``.nii.gz``; a file that is neither, or is damaged, passes: reading it will tell.

    Raises
    ------
    InputError
        The claim is false, or the image does not fit into memory.
    """
    header = _read_header(path)
    if header is None:
        return
    shape = tuple(int(size) for size in header["dim"][1 : 1 + int(header["dim"][0])])
    try:
        item = header.get_data_dtype().itemsize
    except (HeaderDataError, LookupError):
        return
    offset = header["vox_offset"]
    begin = max(int(offset), 0) if np.isfinite(offset) else 0
    claimed = begin + prod(shape) * item
    size = path.stat().st_size
    if min(shape, default=1) < 0 or claimed > size * (MOST_BYTES if path.suffix == ".gz" else 1):
        what = f"its header claims {_shape(shape)} voxels of {item} bytes, and the file has {size} bytes"
        raise InputError(path, f"cannot be read as an image ({what})", "copy or convert the file again")
    # The bytes themselves, and voxel values while they are scaled.
    _check_fit(path, claimed + 8 * prod(shape), f"is an image of {_shape(shape)} voxels, which needs")


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _read_header(path: Path) -> nib.Nifti1Header | None:
    """Read a header and nothing of what it claims to come after it; None where there is none."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            raw = stream.read(_NIFTI2)
        kind = nib.Nifti2Header if _NIFTI2 in _first_number(raw) else nib.Nifti1Header
        length = _NIFTI2 if kind is nib.Nifti2Header else _NIFTI1
        header = kind(raw[:length], check=False)
    except (OSError, EOFError, ValueError, WrapStructError, zlib.error):
        return None
    return header if 1 <= int(header["dim"][0]) <= 7 else None


def _first_number(raw: bytes) -> tuple[int, int]:
    """Size of the header as it says itself, in either order of bytes."""
    return int.from_bytes(raw[:4], "little"), int.from_bytes(raw[:4], "big")


def check_archive_claim(path: Path, archive: zipfile.ZipFile, free: int | None = None) -> None:
    """Refuse a zip archive that claims to hold more than it can, or than there is room for.

    Parameters
    ----------
    path : path
        The file.
    archive : ZipFile
        The file, open.
    free : int, optional
        Bytes of room; by default those of memory.

    Raises
    ------
    InputError
        Likewise.
    """
    claimed = sum(item.file_size for item in archive.infolist())
    size = path.stat().st_size
    if claimed > MOST_BYTES * size:
        problem = f"claims to hold {claimed / 1e9:.1f} GB, which {size} bytes cannot"
        raise InputError(path, problem, "do not use this file unless you know where it is from")
    _check_fit(path, claimed, "is an archive that needs", free)


def check_json_claim(path: Path) -> None:
    """Refuse a JSON file that is too large to be one of metadata."""
    size = path.stat().st_size
    if size > MOST_JSON:
        problem = f"has {size / 1e6:.0f} MB, which no file of metadata has"
        raise InputError(path, problem, "remove it, or export it again")


def _check_fit(path: Path, needed: int, what: str, free: int | None = None) -> None:
    room = memory_free() if free is None else free
    if needed > room:
        problem = f"{what} about {needed / 1e9:.1f} GB, and {room / 1e9:.1f} GB are free"
        raise InputError(path, problem, "use a machine with more, or leave the file out")
