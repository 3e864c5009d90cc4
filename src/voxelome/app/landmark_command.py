"""`voxelome-tools landmarks`: a standard scale of intensities from the images of a finished run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from voxelome.anat.landmarks import StandardScale, landmarks_of, learn_scale, save_scale
from voxelome.app.arguments import match_labels
from voxelome.bids.description import source_name
from voxelome.errors import InputError, blame
from voxelome.imageio import FloatArray, load_json, load_volume, sidecar_path

_SUFFIX = ".nii.gz"
# Of the names of preprocessed images, what does not tell one contrast from another.
_NO_CONTRAST = ("sub", "ses", "space", "desc")


def learn_from(out_dir: Path, participants: Sequence[str] | None, path: Path) -> StandardScale:
    """Learn a scale from preprocessed images, in the space of each visit's reference, and write it.

    Parameters
    ----------
    out_dir : path
        Results of voxelome.
    participants : sequence of str, optional
        Labels of those to learn from; by default all.
    path : path
        Of the scale.

    Raises
    ------
    InputError
        The folder has no such images, or of too few participants.
    """
    if not out_dir.is_dir():
        raise InputError(out_dir, "there is no such folder", "give the results of a finished run")
    there = sorted(folder.name for folder in out_dir.glob("sub-*") if folder.is_dir())
    wanted = match_labels(list(participants or []), [name[4:] for name in there], "sub-", out_dir)
    chosen = [name for name in there if not wanted or name[4:] in wanted]
    with blame(out_dir):
        scale = learn_scale(_landmarks(out_dir, chosen), source_name(out_dir))
    save_scale(path, scale)
    return scale


def _landmarks(out_dir: Path, participants: Sequence[str]) -> Iterator[tuple[str, str, FloatArray]]:
    """Participant, contrast and landmarks of each image; outside the brain an image is 0."""
    for name in participants:
        for path in sorted((out_dir / name).rglob(f"*_desc-preproc_*{_SUFFIX}")):
            if _is_native(path):
                data = load_volume(path).data
                with blame(path):
                    yield name, _contrast(path), landmarks_of(data[data != 0])


def _is_native(path: Path) -> bool:
    """Whether an image lies on the grid of its visit's reference, where its scale was found."""
    reference = load_json(sidecar_path(path)).get("SpatialReference", "the visit's")
    return str(reference).startswith("the visit's")


def _contrast(path: Path) -> str:
    """Label of the contrast, such as ``ce-gadolinium_T1w``."""
    parts = path.name.removesuffix(_SUFFIX).split("_")
    return "_".join(part for part in parts if part.split("-")[0] not in _NO_CONTRAST)
