"""Write maps of features around each voxel, one image a region, image and feature."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from voxelome.bids.names import bids_name, split_label
from voxelome.errors import blame
from voxelome.imageio import load_volume, save_volume
from voxelome.interfaces.measurable import Measurable
from voxelome.interfaces.roi import check_grids
from voxelome.radiomics.maps import MapName, feature_maps, parse_maps
from voxelome.step import StepRecord

# Settings of a parameter file's voxelSetting that are followed; the others decide nothing here.
KERNEL = ("kernelRadius", "maskedKernel")


def save_maps(visit: Measurable, wanted: list[str], folder: Path, record: StepRecord) -> None:
    """Write the maps that a study names, of every region that is measured on every image of its space.

    Raises
    ------
    InputError
        There is no such map, or an image lies on another grid than a region.
    """
    with blame("radiomics: feature_maps"):
        names = parse_maps(wanted, visit.settings)
    given = visit.parameters.get("voxelSetting") or {}
    kernel = {key: value for key, value in given.items() if key in KERNEL}
    for image in visit.images:
        here = [item for item in visit.regions if item.measured and item.space == image["space"]]
        if not here:
            continue
        volume = load_volume(image["path"])
        check_grids(image["path"], volume, here)
        for region in here:
            mask = region.mask & (volume.data != 0)
            for found in feature_maps(volume.data, mask, volume.affine, visit.settings, names, kernel):
                if found.values is None:
                    record.skip(f"map {found.name} of {region.name} on {image['image']}", found.reason)
                    continue
                path = folder / map_name(image["path"], region.name, found.name)
                about = _sidecar(image, region.name, found.name, kernel)
                save_volume(path, found.values, volume.affine, about)
                record.add(
                    path, "feature-map", image=image["image"], roi=region.name, feature=str(found.name)
                )


def map_name(path: Path | str, roi: str, name: MapName) -> str:
    """Return the file name of a map.

    Examples
    --------
    >>> map_name("sub-01_space-T1w_desc-preproc_T2w.nii.gz", "tumor-core", MapName("original", "glcm", "Idm"))
    'sub-01_space-T1w_desc-tumorcoreGlcmIdm_T2w.nii.gz'
    """
    entities, suffix = split_label(Path(path).name.split(".")[0])
    filtered = "" if name.filter == "original" else name.filter
    words = [roi, *(word[:1].upper() + word[1:] for word in (filtered, name.feature_class, name.feature))]
    desc = re.sub("[^A-Za-z0-9]", "", "".join(words))
    return bids_name({**entities, "desc": desc}, suffix, ".nii.gz")


def _sidecar(image: dict[str, Any], roi: str, name: MapName, kernel: dict[str, Any]) -> dict[str, Any]:
    """Say what a map shows."""
    return {
        "Description": f"{name} around each voxel of {roi}; not a number elsewhere",
        "Image": image["image"],
        "Region": roi,
        "KernelRadiusVoxels": kernel.get("kernelRadius", 1),
        "OnlyVoxelsOfTheRegion": kernel.get("maskedKernel", True),
    }
