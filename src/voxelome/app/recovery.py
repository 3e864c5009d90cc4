"""What was planted in the demonstration cohort, and what the workflow measured of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from voxelome.imageio import Array, load_json, load_volume, save_text
from voxelome.orientation import to_canonical
from voxelome.segmentation.parts import dice
from voxelome.step import StepRecord


@dataclass(frozen=True)
class Recovery:
    """One quantity: planted, measured, the range that it should lie in."""

    stage: str
    quantity: str
    planted: str
    measured: str
    bar: str
    reached: bool


@dataclass(frozen=True)
class Cohort:
    """Where the demonstration lies."""

    bids_dir: Path
    out_dir: Path
    work_dir: Path

    @property
    def truth(self) -> Path:
        """Derivative dataset with the truth."""
        return self.bids_dir / "derivatives" / "truth"

    @property
    def subjects(self) -> list[str]:
        """Names of the participants, with sub-."""
        return sorted(path.name for path in self.bids_dir.glob("sub-*"))

    def record(self, subject: str, step: str) -> StepRecord:
        """Record of a participant's step."""
        return StepRecord.load(self.work_dir / "steps" / subject / f"{step}.json")


def recover(cohort: Cohort) -> list[Recovery]:
    """Compare planted and measured values, stage by stage."""
    makers = (
        recover_brain,
        recover_registration,
        recover_susceptibility,
        recover_relaxation,
        recover_lesion,
        recover_features,
        recover_model,
        recover_reports,
    )
    return [row for make in makers for row in make(cohort)]


def _canonical(path: Path) -> tuple[Array, Array]:
    volume = load_volume(path, dtype=None)
    return to_canonical(volume.data, volume.affine)


def recover_brain(cohort: Cohort) -> Iterator[Recovery]:
    """Brain volume and overlap of the brain mask."""
    values, planted, measured = [], [], []
    for subject in cohort.subjects:
        truth, affine = _canonical(cohort.truth / subject / "anat" / f"{subject}_desc-brain_mask.nii.gz")
        found, _ = _canonical(cohort.out_dir / subject / "anat" / f"{subject}_desc-brain_mask.nii.gz")
        voxel = abs(float(np.linalg.det(affine[:3, :3]))) / 1000
        planted.append((truth > 0).sum() * voxel)
        measured.append((found > 0).sum() * voxel)
        values.append(dice(truth > 0, found > 0))
    yield Recovery(
        "preprocess",
        "brain volume (ml)",
        f"{np.mean(planted):.0f}",
        f"{np.mean(measured):.0f}",
        "",
        True,
    )
    low = min(values)
    yield Recovery(
        "preprocess",
        "brain mask (Dice)",
        "1",
        f"{np.mean(values):.3f}, lowest {low:.3f}",
        ">= 0.90",
        low >= 0.90,
    )


def recover_registration(cohort: Cohort) -> Iterator[Recovery]:
    """Distance in the brain between the true and the found alignment."""
    errors: dict[str, list[float]] = {}
    starts: dict[str, list[float]] = {}
    for subject in cohort.subjects:
        truth = load_json(
            cohort.truth / subject / "anat" / f"{subject}_from-T1w_to-images_mode-image_xfm.json"
        )
        mask, affine = _canonical(cohort.truth / subject / "anat" / f"{subject}_desc-brain_mask.nii.gz")
        voxels = np.argwhere(mask > 0)[::37]
        points = np.c_[voxels, np.ones(len(voxels))] @ affine.T
        record = cohort.record(subject, "register")
        for label, matrix in truth["Transforms"].items():
            found = record.find("matrix", image=label)[0]["matrix"]
            gap = points @ (np.array(found) - np.array(matrix)).T
            errors.setdefault(label, []).append(float(np.linalg.norm(gap[:, :3], axis=1).mean()))
            moved = points @ (np.eye(4) - np.array(matrix)).T
            starts.setdefault(label, []).append(float(np.linalg.norm(moved[:, :3], axis=1).mean()))
    for label, values in errors.items():
        yield Recovery(
            "register",
            f"{label} (mm)",
            f"moved {np.mean(starts[label]):.1f}",
            f"off by {np.mean(values):.2f}, largest {max(values):.2f}",
            "off by <= 1",
            max(values) <= 1.0,
        )


def _nuclei(cohort: Cohort, suffix: str) -> tuple[Array, Array]:
    """Planted and measured mean of a map in every deep nucleus of every participant."""
    planted, measured = [], []
    for subject in cohort.subjects:
        folder = cohort.truth / subject / "anat"
        labels, _ = _canonical(folder / f"{subject}_space-MEGRE_desc-nuclei_dseg.nii.gz")
        truth, _ = _canonical(folder / f"{subject}_space-MEGRE_{suffix}.nii.gz")
        found, _ = _canonical(cohort.out_dir / subject / "anat" / f"{subject}_{suffix}.nii.gz")
        for label in np.unique(labels[labels > 0]):
            inside = (labels == label) & (found != 0)
            if inside.sum() >= 0.5 * (labels == label).sum():
                planted.append(truth[inside].mean())
                measured.append(found[inside].mean())
    return np.array(planted), np.array(measured)


def recover_susceptibility(cohort: Cohort) -> Iterator[Recovery]:
    """Susceptibility of the deep nuclei against what was planted."""
    planted, measured = _nuclei(cohort, "Chimap")
    slope, offset = np.polyfit(planted, measured, 1)
    r = float(np.corrcoef(planted, measured)[0, 1])
    yield Recovery(
        "qsm",
        f"chi of {len(planted)} deep nuclei",
        "slope 1",
        f"slope {slope:.2f}, r {r:.2f}",
        "0.6 to 1.2",
        0.6 <= slope <= 1.2,
    )
    error = float(np.sqrt(np.mean((measured - offset - planted) ** 2)))
    yield Recovery(
        "qsm",
        "the same (ppm)",
        f"{planted.min():.3f} to {planted.max():.3f}",
        f"off by {error:.3f} (RMS)",
        "",
        True,
    )


def recover_relaxation(cohort: Cohort) -> Iterator[Recovery]:
    """R2* of the deep nuclei against what was planted."""
    planted, measured = _nuclei(cohort, "R2starmap")
    slope = float(np.polyfit(planted, measured, 1)[0])
    yield Recovery(
        "qsm",
        "R2* of deep nuclei (1/s)",
        f"{planted.mean():.1f}",
        f"{measured.mean():.1f}, slope {slope:.2f}",
        "slope 0.8 to 1.2",
        0.8 <= slope <= 1.2,
    )


def recover_lesion(cohort: Cohort) -> Iterator[Recovery]:
    """Overlap of the lesion on the gradient echo's grid."""
    values = []
    for subject in cohort.subjects:
        truth, _ = _canonical(
            cohort.truth / subject / "anat" / f"{subject}_space-MEGRE_desc-lesion_dseg.nii.gz"
        )
        found, _ = _canonical(
            cohort.out_dir / subject / "anat" / f"{subject}_space-MEGRE_desc-lesion_dseg.nii.gz"
        )
        values.append(dice(truth > 0, found > 0))
    yield Recovery(
        "segment",
        "lesion on MEGRE (Dice)",
        "1",
        f"{np.mean(values):.3f}, lowest {min(values):.3f}",
        ">= 0.80",
        min(values) >= 0.80,
    )


def recover_features(cohort: Cohort) -> Iterator[Recovery]:
    """Volume of the lesion's rim from the feature table, and the table's size."""
    import pandas as pd

    table = pd.read_csv(cohort.out_dir / "group" / "features.tsv", sep="\t", na_values="n/a").set_index(
        "participant_id"
    )
    truth = pd.read_csv(cohort.truth / "truth.tsv", sep="\t")
    planted = truth[truth["quantity"] == "rim volume"].set_index("participant_id")["value"]
    column = "T1w__lesion-rim__original__shape__VoxelVolume"
    measured = table.loc[planted.index, column] / 1000
    worst = float((measured / planted - 1).abs().max())
    yield Recovery(
        "radiomics",
        "rim of the lesion (ml)",
        f"{planted.mean():.2f}",
        f"{measured.mean():.2f}",
        "each within 2 %",
        worst <= 0.02,
    )
    values = table.drop(columns="session_id")
    yield Recovery(
        "radiomics",
        "features",
        "",
        f"{values.shape[1]}, {100 * values.isna().to_numpy().mean():.1f} % n/a",
        "",
        True,
    )


def recover_model(cohort: Cohort) -> Iterator[Recovery]:
    """AUC for the planted outcome."""
    metrics: dict[str, Any] = load_json(cohort.out_dir / "group" / "mutation" / "metrics.json")
    low, high = metrics["auc_low"], metrics["auc_high"]
    yield Recovery(
        "model",
        "AUC of the mutation",
        "planted",
        f"{metrics['auc']:.2f} ({low:.2f} to {high:.2f})",
        "above 0.5",
        low > 0.5,
    )


def recover_reports(cohort: Cohort) -> Iterator[Recovery]:
    """Pages with pictures: one a participant and one of the group."""
    names = [f"{name}.html" for name in (*cohort.subjects, "group")]
    pages = [path.read_text(encoding="utf-8") for name in names if (path := cohort.out_dir / name).is_file()]
    found = sum("<img " in page or "<svg" in page for page in pages)
    yield Recovery("report", "pages with pictures", f"{len(names)}", f"{found}", "all", found == len(names))


def save_recovery(path: Path, rows: list[Recovery]) -> None:
    """Write the table as TSV."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow([item.name for item in fields(Recovery)])
    writer.writerows([astuple(row) for row in rows])
    save_text(path, text.getvalue())
