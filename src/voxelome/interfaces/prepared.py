"""What preprocess left of a visit, for the steps that follow."""

from __future__ import annotations

from voxelome.errors import DataError
from voxelome.imageio import Volume, load_volume
from voxelome.step import StepRecord


def reference_of(prepared: StepRecord) -> str:
    """Label of the image that preprocess chose as reference; empty if there is none."""
    return str(prepared.parameters["reference"])


def load_prepared(record: StepRecord, label: str) -> Volume:
    """Read an image that preprocess made."""
    path = record.path("prepared", image=label)
    if path is None:
        raise DataError(f"the record of {record.unit} has no image {label}", "run preprocess again")
    return load_volume(path)


def prepared_grids(prepared: StepRecord, reference: str) -> dict[str, Volume]:
    """Images of a visit as preprocess left them, by label, the reference before the others."""
    items = sorted(prepared.find("prepared"), key=lambda item: item["image"] != reference)
    return {item["image"]: load_volume(item["path"]) for item in items}
