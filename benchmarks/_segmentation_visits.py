"""Two real visits of multiple sclerosis: lesions of each, and what changed, against a given mask of that."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _cases import DATA, MS01, REAL, Table
from _segmentation_pictures import BLUE, RED, YELLOW, draw
from _segmentation_scores import Score, score
from _segmentation_steps import ROOT, Visit, models, prepare, run, run_network

from voxelome.imageio import load_json, load_volume, sidecar_path
from voxelome.segmentation.carry import carry_labels
from voxelome.segmentation.change import GROWN, NEW, SHRUNK, VANISHED
from voxelome.segmentation.intensity_change import BRIGHTER, score_change
from voxelome.segmentation.parts import connected_parts
from voxelome.step import StepRecord

EXTRA = DATA / "extra" / "ms_long01"
SESSIONS = ("ses-01", "ses-02")
# ITK's world axes run to the left and to the back.
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
# Mean z score of what was gained, from which on the images are said to confirm a change.
CONFIRMED = 3.0


def measure_visits(table: Table, options: argparse.Namespace) -> None:
    """sub-ms01 by preprocess, register, the network, the space of both visits, and their comparison."""
    table.head("lesion: sub-ms01, two visits, T1w and FLAIR", unit="")
    models_dir = models(options.work / "models", "deepbet", "synlesion")
    root = options.work / "visits"
    visits, records = [], []
    for number, session in enumerate(SESSIONS, start=1):
        name = {label: MS01.format(visit=number, contrast=label) for label in ("T1w", "FLAIR")}
        images = {label: REAL / f"{file}.nii.gz" for label, file in name.items()}
        visits.append(prepare(f"sub-ms01_{session}", images, root / session, models_dir))
        found = run_network(visits[-1], "synlesion", models_dir)
        records.append(found.path)
        voxel = abs(float(np.linalg.det(found.affine[:3, :3]))) / 1000
        table.row(f"{session}: lesions (ml)", float((found.labels > 0).sum()) * voxel, digits=2)
        table.row(f"{session}: lesions", connected_parts(found.labels > 0)[1], digits=0)
    midway, change = _compare(visits, records, root)
    for text in change.done:
        print(f"    {text}")
    _against_truth(table, options, visits, midway, change)


def _compare(visits: list[Visit], records: list[Path], root: Path) -> tuple[StepRecord, StepRecord]:
    """Records of the space of both visits and of the comparison."""
    script = ROOT / "scripts"
    paths = root / "midway.json", root / "change.json"
    shared = ["--unit", "sub-ms01", "--out-dir", root / "out", "--num-threads", 2]
    if not paths[0].is_file():
        run(
            [
                *(sys.executable, script / "align_visits.py", "--record", paths[0], *shared),
                *("--prepared", *(visit.prepared for visit in visits)),
                *("--registered", *(visit.registered for visit in visits)),
            ],
            threads=2,
        )
    run(
        [
            *(sys.executable, script / "compare_lesions.py", "--record", paths[1], *shared),
            *("--midway", paths[0], "--name", "synlesion", "--segmented", *records),
        ],
        threads=2,
    )
    return StepRecord.load(paths[0]), StepRecord.load(paths[1])


def _against_truth(
    table: Table, options: argparse.Namespace, visits: list[Visit], midway: StepRecord, change: StepRecord
) -> None:
    """Change found against the given one, brought to the space of both visits."""
    found, by_image = (
        load_volume(change.find(role, name=name)[0]["path"], dtype=None)
        for role, name in (("change", "synlesion"), ("image-change", "FLAIR"))
    )
    ways = [_to_given(number, visit, midway) for number, visit in enumerate(visits, start=1)]
    truth, brain = (
        carry_labels(given.data.astype(np.int16), given.affine, found.data.shape, found.affine, ways[1]) > 0
        for given in (
            load_volume(EXTRA / f"coreg_{name}.nii.gz", dtype=None) for name in ("change_gt", "brainmask")
        )
    )
    points = np.insert(
        (found.affine @ np.insert(np.argwhere(brain)[::500].T, 3, 1, axis=0))[:3], 3, 1, axis=0
    )
    gap = float(np.linalg.norm(((ways[0] - ways[1]) @ points)[:3], axis=0).mean())
    table.row("registration of visits, given's (mm)", gap)
    gained = np.isin(found.data, (NEW, GROWN))
    images = [_flair(midway, session) for session in SESSIONS]
    inside = (images[0] != 0) & (images[1] != 0)
    lesions = found.data > 0
    z = score_change(images[0], images[1], inside, found.spacing[:3], lesions)
    confirmed = _confirmed(gained, z.score)
    candidates = {
        "new and grown": gained,
        f"of them, z score >= {CONFIRMED:g}": confirmed,
        "brighter, by FLAIR alone": by_image.data == BRIGHTER,
    }
    for name, mask in candidates.items():
        result = score(mask, truth, found.affine)
        _rows(table, name, result)
        draw(
            options.pictures,
            f"visits_change_{name.split()[0].strip(',')}",
            images[1],
            found.affine,
            [(mask, RED), (truth, YELLOW)],
        )
    now = np.isin(found.data, (NEW, GROWN, SHRUNK, VANISHED), invert=True) & lesions
    masks = [(gained, RED), (truth, YELLOW), (now, BLUE)]
    for session, image in zip(SESSIONS, images, strict=True):
        draw(options.pictures, f"visits_{session}", image, found.affine, masks, on=lesions)
    share = float((truth & lesions).sum() / truth.sum())
    table.row("given change inside our lesions", share)


def _rows(table: Table, name: str, result: Score) -> None:
    table.row(f"{name}: Dice", result.dice)
    table.row(f"{name}: sensitivity", result.hit / max(1, result.lesions))
    print(f"    {result}")


def _confirmed(mask: Any, z: Any) -> Any:
    """Parts of a mask whose mean score is high."""
    parts, count = connected_parts(mask)
    sizes = np.maximum(np.bincount(parts.ravel(), minlength=count + 1), 1)
    means = np.bincount(parts.ravel(), weights=z.ravel(), minlength=count + 1) / sizes
    return (means >= CONFIRMED)[parts] & mask


def _flair(midway: StepRecord, session: str) -> Any:
    return load_volume(midway.find("midway", visit=session, image="FLAIR")[0]["path"]).data


def _to_given(number: int, visit: Visit, midway: StepRecord) -> Any:
    """Matrix from the world of both visits' space to that of the given mask, by way of a visit's FLAIR."""
    record = StepRecord.load(visit.registered)
    to_flair = np.array(record.find("matrix", image="FLAIR")[0]["matrix"])
    transform = midway.path("matrix", visit=SESSIONS[number - 1])
    if transform is None:
        raise RuntimeError(f"{SESSIONS[number - 1]} is not in the space of both visits")
    to_reference = np.array(load_json(sidecar_path(transform))["Matrix"])
    return np.linalg.inv(_given_matrix(number)) @ to_flair @ to_reference


def _given_matrix(number: int) -> Any:
    """World of the given mask to that of a visit's FLAIR, RAS mm, from the text file of ITK's."""
    text = (EXTRA / f"study{number}_FLAIR_to_common_space.txt").read_text()
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    parameters, centre = (
        np.array(fields[name].split(), dtype=float) for name in ("Parameters", "FixedParameters")
    )
    lps = np.eye(4)
    lps[:3, :3] = parameters[:9].reshape(3, 3)
    lps[:3, 3] = parameters[9:] + centre - lps[:3, :3] @ centre
    return _FLIP @ lps @ _FLIP
