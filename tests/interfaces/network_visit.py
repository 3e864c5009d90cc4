"""A visit as preprocess and register leave it, on which a network runs."""

import csv
from pathlib import Path

import numpy as np

from voxelome.imageio import load_volume, save_volume
from voxelome.interfaces import RunNetwork
from voxelome.step import StepRecord

SHAPE = (16, 16, 16)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
# Of the T1w; brighter than all else in it.
LESION = (slice(6, 10), slice(6, 10), slice(6, 10))
FLAIR = {"contrast": "FLAIR", "rule": "none"}
T1W = {"contrast": "T1w", "rule": "none"}
CT_WINDOW = {"contrast": "ct", "rule": "window", "region": "image", "windows": [[40.0, 80.0]]}
LESIONS = {"outputs": {"labels": {"1": "lesion"}}, "lesions": True}


def shift(x):
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


class Visit:
    """A visit of a T1w with a bright cube, and other images that lie 4 mm further to the right."""

    def __init__(self, folder, name="sub-01"):
        self.folder, self.name = folder, name
        self.models, self.anat = folder / "models", folder / "out" / name / "anat"
        self.prepared, self.registered = StepRecord("preprocess", name), StepRecord("register", name)
        self.prepared.parameters["reference"] = "T1w"
        rng = np.random.default_rng(0)
        self.t1w = rng.uniform(15, 25, SHAPE).astype(np.float32)
        self.t1w[LESION] = 100
        self.add("T1w", self.t1w)
        brain = np.zeros(SHAPE, dtype=bool)
        brain[2:14, 2:14, 2:14] = True
        self.prepared.add(save_volume(folder / "brain.nii.gz", brain, AFFINE), "brain")
        self.registered.add(
            save_volume(folder / "mask.nii.gz", brain, AFFINE), "mask", name="brain", space="T1w"
        )

    def add(self, label, data, moved=0.0):
        """Add an image; a point of the reference lies `moved` mm further to the right in it."""
        path = save_volume(self.folder / f"{label}.nii.gz", data, AFFINE)
        raw = str(self.folder / "raw" / self.name / "anat" / f"{self.name}_{label}.nii.gz")
        self.prepared.add(path, "prepared", image=label, source=raw)
        if "MEGRE" not in label:
            self.registered.add(path, "image", image=label, space="T1w")
        if label != "T1w":
            self.registered.add(path, "matrix", image=label, matrix=shift(moved).tolist())

    def run(self, model, **more):
        """Run a model and return the step's record."""
        self.prepared.save(self.folder / "preprocess.json")
        self.registered.save(self.folder / "register.json")
        records = {
            "prepared": str(self.folder / "preprocess.json"),
            "registered": str(self.folder / "register.json"),
        }
        return self.start(model, **(records | more))

    def start(self, model, **more):
        """Run a model on nothing but what is given."""
        record = self.folder / f"network-{model}.json"
        own = {"unit": self.name, "models_dir": str(self.models), "out_dir": str(self.anat)}
        RunNetwork(model=model, record=str(record), **own, **more).run()
        return StepRecord.load(record)


def rows_of(path: Path) -> list[dict[str, str]]:
    """Rows of a table."""
    return list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))


def labels_in(record: StepRecord, space: str = "T1w") -> np.ndarray:
    """The one label image that a step left in a space."""
    (item,) = record.find("labels", space=space)
    return load_volume(item["path"], dtype=None).data
