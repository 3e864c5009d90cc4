"""Compressed images by ISA-L: written five times as fast as by zlib, read twice as fast, and smaller."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, cast

from isal import igzip, isal_zlib
from nibabel.openers import ImageOpener

DAMAGE = cast(type[Exception], isal_zlib.error)
_GZIP_FILE: Callable[..., Any] = igzip.IGzipFile


def compress_images_by_isal() -> None:
    """Let nibabel read and write `.gz` by ISA-L."""
    arguments = ("mode", "compresslevel", "mtime", "keep_open")
    ImageOpener.compress_ext_map = {**ImageOpener.compress_ext_map, ".gz": (_open, arguments)}


def _open(
    filename: str, mode: str = "rb", compresslevel: int = 1, mtime: int = 0, keep_open: bool = False
) -> Any:
    """Open a file as nibabel's own opener does, with neither name nor time: an image has the same bytes."""
    raw = io.FileIO(filename, mode)
    file = _GZIP_FILE("", mode, min(compresslevel, isal_zlib.ISAL_BEST_COMPRESSION), raw, mtime)
    # Closed with the file.
    file.myfileobj = raw
    return file
