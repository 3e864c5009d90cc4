"""What is true of a simulated participant: masks, maps, transforms and a table, as BIDS derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxelome.bids.names import bids_name
from voxelome.imageio import Array, FloatArray, save_json, save_text, save_volume
from voxelome.phantom.anatomy import NUCLEI
from voxelome.phantom.deform import Grid
from voxelome.phantom.lesion import LABELS
from voxelome.phantom.person import HEAD_CENTRE, Person

COLUMNS = ("participant_id", "stage", "quantity", "value", "unit")
NUCLEUS_LABELS = {number: nucleus.name for number, nucleus in enumerate(NUCLEI, start=1)}


@dataclass(frozen=True)
class EchoTruth:
    """True images on the grid of the gradient echo.

    Attributes
    ----------
    grid : Grid
    lesion, nuclei : ndarray
        Labels.
    chi, r2star : ndarray
        ppm and 1/s, 0 outside the brain.
    """

    grid: Grid
    lesion: Array
    nuclei: Array
    chi: FloatArray
    r2star: FloatArray


@dataclass(frozen=True)
class Truth:
    """True images of one participant: brain, lesion and nuclei on the grid of the T1w, and the echo's."""

    grid: Grid
    brain: Array
    lesion: Array
    nuclei: Array
    echo: EchoTruth


def write_truth(root: Path, person: Person, truth: Truth) -> None:
    """Write the true images and transforms of a participant below the dataset `root`."""
    folder = root / f"sub-{person.label}" / "anat"

    def save(data: Array, grid: Grid, suffix: str, sidecar: dict[str, Any], **entities: str) -> None:
        name = bids_name({"subject": person.label, **entities}, suffix, ".nii.gz")
        save_volume(folder / name, data, grid.affine, sidecar)

    mine = {"SpatialReference": "the participant's T1w"}
    moved = {"SpatialReference": "the participant's MEGRE"}
    save(truth.brain, truth.grid, "mask", {"Type": "Brain", **mine}, desc="brain")
    save(truth.nuclei, truth.grid, "dseg", mine, desc="nuclei")
    save(truth.echo.nuclei, truth.echo.grid, "dseg", moved, space="MEGRE", desc="nuclei")
    save(truth.echo.lesion, truth.echo.grid, "dseg", moved, space="MEGRE", desc="lesion")
    save(truth.echo.chi, truth.echo.grid, "Chimap", {"Units": "ppm", **moved}, space="MEGRE")
    save(truth.echo.r2star, truth.echo.grid, "R2starmap", {"Units": "1/s", **moved}, space="MEGRE")
    transforms = {
        "Convention": "4x4 matrix that takes a world point of the T1w to the image's world, RAS mm",
        "Type": "rigid",
        "Transforms": {label: matrix.tolist() for label, matrix in person.motion.items()},
    }
    entities = {"subject": person.label, "from": "T1w", "to": "images", "mode": "image"}
    name = bids_name(entities, "xfm", ".json")
    save_json(folder / name, transforms)


def label_volumes(labels: Array, grid: Grid, names: dict[int, str]) -> dict[str, float]:
    """Volume in ml of every label on a grid."""
    voxel = abs(float(np.linalg.det(grid.affine[:3, :3]))) / 1000
    return {name: float((labels == index).sum()) * voxel for index, name in names.items()}


def truth_rows(person: Person, truth: Truth) -> list[tuple[str, str, str, float, str]]:
    """Rows of truth.tsv: participant, stage, quantity, value, unit."""
    brain = label_volumes(truth.brain, truth.grid, {1: "brain"})["brain"]
    rows: list[tuple[str, str, float, str]] = [("preprocess", "brain volume", brain, "ml")]
    centre = np.asarray(HEAD_CENTRE)
    for label, matrix in person.motion.items():
        shift = float(np.linalg.norm(matrix[:3, :3] @ centre + matrix[:3, 3] - centre))
        rows.append(("register", f"{label} movement", shift, "mm"))
    rows += [("qsm", f"{name} chi", value, "ppm") for name, value in person.chi.items()]
    rows += [("qsm", f"{name} R2star", value, "1/s") for name, value in person.r2star.items()]
    volumes = label_volumes(truth.lesion, truth.grid, LABELS)
    rows += [("segment", f"{name} volume", value, "ml") for name, value in volumes.items()]
    rows.append(("model", "mutation", float(person.mutation), ""))
    return [(f"sub-{person.label}", *row) for row in rows]


def write_tables(root: Path, rows: list[tuple[str, str, str, float, str]]) -> None:
    """Write truth.tsv and the label tables of the nuclei and the lesion."""
    lines = ["\t".join(COLUMNS)]
    lines += ["\t".join([*where, f"{value:.6g}", unit or "n/a"]) for *where, value, unit in rows]
    save_text(root / "truth.tsv", "\n".join(lines) + "\n")
    write_labels(root / "desc-nuclei_dseg.tsv", NUCLEUS_LABELS)
    write_labels(root / "desc-lesion_dseg.tsv", LABELS)


def write_labels(path: Path, names: dict[int, str]) -> None:
    """Write a BIDS label table: index and name."""
    save_text(path, "index\tname\n" + "".join(f"{index}\t{name}\n" for index, name in names.items()))
