"""Which columns of an analysis are brought to a standard scale inside the folds, and what that takes."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd

from voxelome.columns import BRAIN, HISTOGRAM, ORIGINAL, SEPARATOR, percentile
from voxelome.errors import DataError, listed
from voxelome.modelling.visits import Scaled
from voxelome.standard_scale import FEWEST, PERCENTILES

# What names of columns begin with that hold landmarks of a brain; the name of the feature follows.
LANDMARK = "landmark of "


def with_landmarks(
    values: pd.DataFrame, visits: pd.DataFrame, patterns: Sequence[str], notes: list[str]
) -> tuple[pd.DataFrame, tuple[Scaled, ...]]:
    """Return the features followed by the landmarks that bring some to a standard scale, and which.

    The landmarks themselves are no features any more: on the scale they are the same in all.

    Parameters
    ----------
    values : DataFrame
        Features that are offered, one row a visit.
    visits : DataFrame
        All features of the same visits.
    patterns : sequence of str
        Names or patterns of images.
    notes : list of str
        What is found is added.

    Raises
    ------
    DataError
        A pattern fits no image whose percentiles are offered, or those of the brain are not known.
    """
    if not patterns:
        return values, ()
    images = _images([str(name) for name in values.columns], patterns)
    landmarks = {image: [_column(image, BRAIN, percent) for percent in PERCENTILES] for image in images}
    values = values.drop(columns=[name for own in landmarks.values() for name in own], errors="ignore")
    names, scaled = [str(name) for name in values.columns], []
    for image, own in landmarks.items():
        first = values.shape[1]
        values = pd.concat([values, _known(visits, image, own, notes).set_axis(values.index)], axis=1)
        moved = tuple(place for place, name in enumerate(names) if _is_percentile(name, image))
        scaled.append(Scaled(image, tuple(range(first, first + len(own))), moved))
        others = sum(name.startswith(f"{image}{SEPARATOR}") for name in names) - len(moved)
        notes.append(
            f"{len(moved)} percentiles of regions of {image} are brought to a standard scale (Nyul 2000) that"
            f" is learned in training; {others} other features of {image} are as they were measured."
        )
    return values, tuple(scaled)


def _known(visits: pd.DataFrame, image: str, landmarks: list[str], notes: list[str]) -> pd.DataFrame:
    """Return the landmarks of an image in each visit, and note who has none."""
    remedy = "let radiomics measure the brain with histograms (histogram: {wanted: true})"
    if not set(landmarks) <= set(visits.columns):
        raise DataError(f"standard_scale needs percentiles of {image} in the brain: there are none", remedy)
    found = visits[landmarks].astype(np.float64).replace([np.inf, -np.inf], np.nan)
    without = int(found.isna().any(axis=1).sum())
    if len(found) - without < FEWEST:
        raise DataError(
            f"{without} of {len(found)} visits have no percentiles of {image} in the brain", remedy
        )
    if without:
        notes.append(
            f"{without} visit(s) have no percentiles of {image} in the brain: those of its regions, which are"
            " on no scale, count as missing."
        )
    return found.add_prefix(LANDMARK)


def landmarks_of(names: Sequence[str]) -> dict[str, str]:
    """Return the features behind columns of landmarks, by name of the column."""
    return {name: name.removeprefix(LANDMARK) for name in names if name.startswith(LANDMARK)}


def _column(image: str, region: str, percent: int) -> str:
    return SEPARATOR.join((image, region, ORIGINAL, HISTOGRAM, percentile(percent)))


def _is_percentile(name: str, image: str) -> bool:
    return fnmatchcase(name, SEPARATOR.join((image, "*", ORIGINAL, HISTOGRAM, "Percentile*")))


def _images(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Return the images that patterns name and that have percentiles of a region among the features."""
    brain = _column("*", BRAIN, 0).removesuffix("00") + "*"
    offered = {
        image
        for image in {name.partition(SEPARATOR)[0] for name in names}
        if any(_is_percentile(name, image) and not fnmatchcase(name, brain) for name in names)
    }
    if lost := [pattern for pattern in patterns if not any(fnmatchcase(image, pattern) for image in offered)]:
        problem = (
            f"standard_scale names {listed(lost)}: no percentile of a region in such an image is offered"
        )
        raise DataError(problem, f"offer features named like {_column('T1w', 'tumor', 50)}")
    return sorted(image for image in offered if any(fnmatchcase(image, pattern) for pattern in patterns))
