"""A BIDS dataset of simulated participants, with the masks that a user would give and the truth."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from voxelome import __version__
from voxelome.bids.names import bids_name
from voxelome.errors import DataError, InputError
from voxelome.imageio import Array, FloatArray, load_json, save_json, save_text, save_volume
from voxelome.phantom.acquisition import CENTRE, EXTENT, field_of_view, write_contrasts, write_gradient_echo
from voxelome.phantom.anatomy import NUCLEI, load_head_model, nucleus_fraction, tissues_at
from voxelome.phantom.lesion import LABELS, label_image, make_tumour, tumour_fractions
from voxelome.phantom.person import make_person, survival
from voxelome.phantom.truth import Truth, label_volumes, truth_rows, write_labels, write_tables, write_truth

NAME = "Simulated brain tumour cohort"
_FINEST, _COARSEST = 1.5, 6.0
_README = """\
Simulated heads with a simulated brain tumour each; nobody's data. The anatomy is a smooth deformation of
the MNI152 template (ICBM 2009a symmetric, as bundled with nilearn; Fonov et al., NeuroImage 54 (2011)
313). Everything that the images show was planted and is known: see derivatives/truth.
derivatives/masks holds tumour outlines on the grid of each T1w, as a reader would draw them.
"""
_COLUMNS: dict[str, dict[str, Any]] = {
    "site": {"Description": "Scanner: noise, contrast, sensitivity and scale differ"},
    "age": {"Description": "Age", "Units": "year"},
    "sex": {"Description": "Sex", "Levels": {"M": "male", "F": "female"}},
    "mutation": {"Description": "Planted binary outcome", "Levels": {"0": "wild type", "1": "mutated"}},
    "survival_days": {"Description": "Days from the scan to death or the end of follow-up", "Units": "day"},
    "event": {"Description": "Whether death was observed", "Levels": {"0": "censored", "1": "died"}},
}


def make_cohort(
    bids_dir: Path,
    *,
    participants: int = 16,
    sites: int = 2,
    spacing: float = 2.0,
    seed: int = 0,
    jobs: int = 1,
) -> None:
    """Write a BIDS dataset of simulated participants with derivatives ``masks`` and ``truth``.

    A participant depends on the seed and its own number only: asking for more participants changes no
    file of the others.

    Parameters
    ----------
    bids_dir : Path
        Folder to write; a cohort made earlier may be there and is written over.
    participants, sites : int
        How many, numbered from 01; participants go to the sites in turn.
    spacing : float
        Voxel size in mm, from 1.5 to 6 (FLAIR has slices twice as thick).
    seed : int
        Seed of everything random, 0 or more.
    jobs : int
        Processes.

    Raises
    ------
    DataError
        A number is out of range.
    InputError
        The folder holds something else.
    """
    if min(participants, sites, jobs) < 1 or seed < 0 or not _FINEST <= spacing <= _COARSEST:
        raise DataError(
            f"participants={participants}, sites={sites}, jobs={jobs}, seed={seed}, spacing={spacing:g}",
            f"give counts of 1 or more, a seed of 0 or more, a spacing of {_FINEST:g} to {_COARSEST:g} mm",
        )
    bids_dir = Path(bids_dir)
    _refuse_other_data(bids_dir)
    _write_descriptions(bids_dir)
    make: Callable[[int], _Written] = partial(
        make_participant, bids_dir=bids_dir, sites=sites, spacing=spacing, seed=seed
    )
    if jobs == 1:
        written = [make(index) for index in range(participants)]
    else:
        load_head_model()  # once here, where forked processes find it
        with ProcessPoolExecutor(max_workers=min(jobs, participants)) as pool:
            written = list(pool.map(make, range(participants)))
    _write_participants(bids_dir, [row for row, _ in written])
    write_tables(bids_dir / "derivatives" / "truth", [line for _, lines in written for line in lines])


_Written = tuple[tuple[str, ...], list[tuple[str, str, str, float, str]]]


def make_participant(index: int, *, bids_dir: Path, sites: int, spacing: float, seed: int) -> _Written:
    """Write all files of a participant (from 0); return its rows of participants.tsv and truth.tsv."""
    person = make_person(index, sites, seed)
    tumour = make_tumour(person)
    grid = field_of_view(EXTENT, CENTRE, spacing)
    points = person.warp.to_template(grid.points())
    tissues = tissues_at(points, spacing)
    parts = tumour_fractions(tumour, points, tissues, spacing)
    lesion = label_image(parts)
    mask = bids_name({"subject": person.label, "desc": "lesion"}, "dseg", ".nii.gz")
    where = bids_dir / "derivatives" / "masks" / f"sub-{person.label}" / "anat" / mask
    save_volume(where, lesion, grid.affine, {"SpatialReference": "the participant's T1w"})
    write_contrasts(bids_dir, person, tumour, grid, tissues, parts)
    echo = write_gradient_echo(bids_dir, person, tumour, spacing)
    truth = Truth(grid, tissues.brain, lesion, _nuclei(points, spacing), echo)
    write_truth(bids_dir / "derivatives" / "truth", person, truth)
    volumes = label_volumes(lesion, grid, LABELS)
    days, event = survival(person, volumes["core"] + volumes["rim"])
    row = (
        f"sub-{person.label}",
        person.site.name,
        f"{person.age:.0f}",
        person.sex,
        str(person.mutation),
        str(days),
        str(event),
    )
    return row, truth_rows(person, truth)


def _nuclei(points: FloatArray, width: float) -> Array:
    """Label every voxel with the number (from 1) of the nucleus that fills most of it."""
    labels = np.zeros(points.shape[1:], dtype=np.uint8)
    for number, nucleus in enumerate(NUCLEI, start=1):
        labels[nucleus_fraction(points, nucleus, width) > 0.5] = number
    return labels


def _refuse_other_data(bids_dir: Path) -> None:
    """Never write among somebody's data."""
    if not bids_dir.exists() or (bids_dir.is_dir() and not any(bids_dir.iterdir())):
        return
    description = bids_dir / "dataset_description.json"
    if not description.is_file() or load_json(description).get("Name") != NAME:
        raise InputError(bids_dir, "holds something else than a simulated cohort", "name a new folder")


def _write_descriptions(bids_dir: Path) -> None:
    """Write dataset_description.json and README of the raw dataset and of both derivatives."""
    common = {"BIDSVersion": "1.10.0", "License": "CC0", "Authors": ["The voxelome developers"]}
    generator = {"GeneratedBy": [{"Name": "voxelome phantom", "Version": __version__}]}
    raw = {"Name": NAME, "DatasetType": "raw", **common, **generator}
    save_json(bids_dir / "dataset_description.json", raw)
    save_text(bids_dir / "README", _README)
    for folder, what in (("masks", "tumour outlines"), ("truth", "what was planted")):
        root = bids_dir / "derivatives" / folder
        own = {"Name": f"{NAME}: {what}", "DatasetType": "derivative", "SourceDatasets": [{"URL": "../.."}]}
        save_json(root / "dataset_description.json", {**own, **common, **generator})
        save_text(root / "README", f"{NAME}: {what}. See the README of the dataset.\n")
        write_labels(root / "desc-lesion_dseg.tsv", LABELS)
    save_text(bids_dir / "derivatives" / "truth" / ".bidsignore", "*_xfm.json\ntruth.tsv\n")


def _write_participants(bids_dir: Path, rows: list[tuple[str, ...]]) -> None:
    header = "\t".join(["participant_id", *_COLUMNS])
    save_text(bids_dir / "participants.tsv", "\n".join([header, *("\t".join(row) for row in rows)]) + "\n")
    save_json(bids_dir / "participants.json", _COLUMNS)
