"""Images on a standard scale that was learned from other people (:mod:`voxelome.standard_scale`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxelome.errors import DataError, InputError, listed
from voxelome.imageio import Array, FloatArray, MaskArray, load_json, save_json
from voxelome.standard_scale import FEWEST, PERCENTILES, on_range, to_scale

LEARN = "learn one: voxelome-tools landmarks OUT_DIR SCALE.json"


@dataclass(frozen=True)
class StandardScale:
    """Where the landmarks of each contrast lie on the standard scale, and who taught it.

    Attributes
    ----------
    contrasts : mapping
        Values of the :data:`PERCENTILES` on the scale by contrast, such as ``ce-gadolinium_T1w``.
    participants : tuple of str
        Whose images it was learned from, such as ``sub-01``.
    dataset : str
        Name of their dataset.
    """

    contrasts: Mapping[str, tuple[float, ...]]
    participants: tuple[str, ...]
    dataset: str


def landmarks_of(inside: Array) -> FloatArray:
    """Values of the :data:`PERCENTILES` of what lies in the brain, shape (11,).

    Raises
    ------
    DataError
        There is nothing, or nearly all of it has one value.
    """
    if inside.size == 0:
        raise DataError("no voxel of the image lies in the brain mask", "check the brain mask")
    found: FloatArray = np.percentile(inside.astype(np.float64), PERCENTILES)
    if found[0] == found[-1]:
        raise DataError(f"nearly all voxels in the brain are {found[0]:g}", "normalise by zscore")
    return found


def learn_scale(found: Iterable[tuple[str, str, FloatArray]], dataset: str) -> StandardScale:
    """Mean over people of their landmarks, each image's ends brought to the ends of the scale.

    Parameters
    ----------
    found : iterable of (str, str, ndarray)
        Participant, contrast, and landmarks of one image each. Images of one participant and contrast
        count as one.
    dataset : str
        Name of the dataset.

    Raises
    ------
    DataError
        No contrast has images of :data:`FEWEST` participants.
    """
    by_contrast: dict[str, dict[str, list[FloatArray]]] = {}
    for participant, contrast, values in found:
        by_contrast.setdefault(contrast, {}).setdefault(participant, []).append(on_range(values))
    kept = {label: people for label, people in sorted(by_contrast.items()) if len(people) >= FEWEST}
    if not kept:
        most = max((len(people) for people in by_contrast.values()), default=0)
        raise DataError(f"{most} participants have images of one contrast", f"take {FEWEST} or more")
    means = {
        label: np.mean([np.mean(images, axis=0) for images in people.values()], axis=0)
        for label, people in kept.items()
    }
    taught = sorted({participant for people in kept.values() for participant in people})
    contrasts = {label: tuple(float(value) for value in mean) for label, mean in means.items()}
    return StandardScale(contrasts, tuple(taught), dataset)


def apply_landmarks(data: Array, mask: MaskArray, found: Array, standard: Array) -> FloatArray:
    """Image on the standard scale, see :func:`voxelome.standard_scale.to_scale`.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
    mask : ndarray of bool, shape (x, y, z)
        Brain; the result is 0 outside.
    found, standard : ndarray, shape (11,)
        Landmarks of the image, and where they lie on the scale.

    Raises
    ------
    DataError
        The landmarks of the image have one value.
    """
    if np.ptp(found) == 0:
        raise DataError(f"nearly all voxels in the brain are {found[0]:g}", "normalise by zscore")
    result = np.zeros(data.shape, dtype=np.float32)
    result[mask] = to_scale(data[mask], found, standard)
    return result


def landmarks_for(scale: StandardScale, contrast: str) -> tuple[float, ...]:
    """Landmarks of a contrast on the scale.

    Raises
    ------
    DataError
        The scale was not learned for it.
    """
    if contrast not in scale.contrasts:
        known = listed(scale.contrasts)
        raise DataError(f"the standard scale knows {known}, and not {contrast}", "learn it for that, too")
    return scale.contrasts[contrast]


def save_scale(path: Path, scale: StandardScale) -> Path:
    """Write a scale as JSON."""
    content = {
        "Description": "Standard scale of intensities (Nyul 2000): landmarks of the brain by contrast",
        "Percentiles": list(PERCENTILES),
        "Contrasts": {label: list(values) for label, values in scale.contrasts.items()},
        "Participants": list(scale.participants),
        "Dataset": scale.dataset,
    }
    return save_json(path, content)


def load_scale(path: Path) -> StandardScale:
    """Read a scale.

    Raises
    ------
    InputError
        It is no such file, or its landmarks do not rise.
    """
    if not path.is_file():
        raise InputError(path, "there is no such file", LEARN)
    content: Any = load_json(path)
    if not isinstance(content, dict):
        raise InputError(path, "is no standard scale", LEARN)
    lacks = [key for key in ("Percentiles", "Contrasts", "Participants", "Dataset") if key not in content]
    if lacks:
        raise InputError(path, f"is no standard scale (it has no {lacks[0]})", LEARN)
    if content["Percentiles"] != list(PERCENTILES):
        raise InputError(path, "has landmarks of other percentiles", LEARN)
    if not isinstance(content["Contrasts"], dict) or not isinstance(content["Participants"], list):
        raise InputError(path, "is no standard scale (its contrasts and participants have no names)", LEARN)
    for label, values in content["Contrasts"].items():
        if not _rises(values):
            problem = f"its landmarks of {label} are not {len(PERCENTILES)} numbers that rise"
            raise InputError(path, problem, LEARN)
    contrasts = {str(label): tuple(map(float, values)) for label, values in content["Contrasts"].items()}
    return StandardScale(contrasts, tuple(map(str, content["Participants"])), str(content["Dataset"]))


def _rises(values: Any) -> bool:
    """Whether landmarks are as many as there should be, and none is below the one before."""
    numbers = isinstance(values, list) and all(isinstance(value, int | float) for value in values)
    return (
        numbers
        and len(values) == len(PERCENTILES)
        and bool(np.isfinite(values).all() and (np.diff(values) > 0).all())
    )
