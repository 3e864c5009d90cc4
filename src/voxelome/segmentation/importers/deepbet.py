"""deepbet, whose networks lie in its package (see voxelome.segmentation.deepbet)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voxelome.segmentation.deepbet import NETWORKS, export_deepbet


def convert(source: Path, entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The two networks of the installed package; see :func:`voxelome.segmentation.importers.convert`."""
    export_deepbet(folder)
    return {"members": list(NETWORKS)}
