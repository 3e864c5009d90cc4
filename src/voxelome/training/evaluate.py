"""How a trained network does on cases that it has never seen: its exported file, by the inference engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from voxelome.segmentation.engine import Forward
from voxelome.segmentation.infer import segment
from voxelome.segmentation.parts import dice
from voxelome.segmentation.spec import NetworkSpec
from voxelome.segmentation.windows import probabilities_of
from voxelome.training.contrasts import CHANNELS
from voxelome.training.labelled import load_case
from voxelome.training.labelled_files import CaseFiles
from voxelome.training.synthesis import Synthetic

# Seeds of new cases begin here; those of training begin at the user's and count the examples.
UNSEEN = 10**9
# Sets of contrasts that are reported on, by CHANNELS, and new cases of each.
SETS: tuple[tuple[int, ...], ...] = ((0, 1, 2, 3), (0, 1), (0,), (1, 2), (3,))
CASES = 12
Row = dict[str, Any]


def synthetic_scores(
    source: Synthetic, spec: NetworkSpec, members: Sequence[Forward], seed: int, cases: int
) -> list[Row]:
    """Whole-lesion Dice on new synthetic cases, a row for each set of contrasts; the sets see the same heads.

    Parameters
    ----------
    source : Synthetic
        That of the training.
    spec : NetworkSpec
    members : sequence of callables
        The network, as exported.
    seed : int
        Of the training.
    cases : int
        New cases of each set.
    """
    make = source.cases("cpu")
    sets = [shown for shown in SETS if set(shown) <= set(source.channels)] or [source.channels]
    rows = []
    for shown in sets:
        overlaps, false_ml = [], []
        for index in range(cases):
            image, regions, _ = make(seed + UNSEEN + index, shown)
            stack = image.astype(np.float32)
            found = probabilities_of(stack, members, spec.grid, spec.outputs, spec.activation).probabilities
            inside = (stack != 0).any(axis=0)
            lesion = (found[0] > 0.5) & inside
            if regions[0].any():
                overlaps.append(dice(lesion, regions[0]))
            else:
                false_ml.append(float(lesion.sum()) * source.spacing**3 / 1000)
        rows.append(
            {
                "contrasts": ", ".join(CHANNELS[index] for index in shown),
                "cases": len(overlaps),
                "dice": _mean(overlaps),
                "worst_dice": round(min(overlaps), 3) if overlaps else None,
                "cases_without_lesion": len(false_ml),
                "false_ml": _mean(false_ml),
            }
        )
    return rows


def case_scores(cases: Sequence[CaseFiles], spec: NetworkSpec, members: Sequence[Forward]) -> list[Row]:
    """Dice of each label of each case that was left out, on the grid of its images, as a run gives it."""
    rows = []
    for files in cases:
        case = load_case(files, spec)
        found = segment(case.volumes, case.affine, case.brain, spec, members).labels
        row: Row = {"visit": files.unit}
        for value, name in spec.labels.items():
            overlap = dice(found == value, case.labels == value)
            row[name] = None if np.isnan(overlap) else round(overlap, 3)
        rows.append(row)
    return rows


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 3) if values else None
