"""A toy head, whose tissues and lesions are known, as a label map and as the output of a run."""

import csv
import json

import numpy as np

from voxelome.imageio import save_volume

# Radii (mm) of what lies in one another.
VENTRICLE, WHITE, GRAY = 7.0, 24.0, 29.0
NAMES = {1: "Lateral-Ventricle", 2: "Cerebral-White-Matter", 3: "Cerebral-Cortex", 4: "Thalamus"}


def distance(spacing, size, middle=(0.0, 0.0, 0.0)):
    """Distance in mm of each voxel from a point, the grid's middle being 0; and the affine."""
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (size - 1) / 2
    axes = [spacing * (np.arange(size) - (size - 1) / 2) - at for at in middle]
    return np.sqrt(sum(part**2 for part in np.meshgrid(*axes, indexing="ij"))), affine


def label_map(spacing=2.0, size=36):
    """Labels and affine of a head."""
    radius, affine = distance(spacing, size)
    labels = np.zeros(radius.shape, np.int16)
    for label, edge in ((3, GRAY), (2, WHITE), (1, VENTRICLE)):
        labels[radius < edge] = label
    labels[distance(spacing, size, (14.0, 0.0, 0.0))[0] < 4] = 4
    return labels, affine


def save_label_map(folder, names=NAMES):
    """Write the label map and its table; return the path."""
    labels, affine = label_map()
    path = save_volume(folder / "head_dseg.nii.gz", labels, affine)
    save_table(folder / "head_dseg.tsv", names)
    return path


def save_table(path, names):
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([("index", "name"), *names.items()])


def save_run(folder, people=5, sessions=1, contrasts=("T1w", "FLAIR"), names=None):
    """Write what a run of voxelome leaves of heads with a lesion bright in FLAIR; return the folder."""
    folder.mkdir()
    about = {"Name": "toy", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
    (folder / "dataset_description.json").write_text(json.dumps(about))
    for person in range(people):
        for session in range(1, sessions + 1):
            unit = f"sub-{person:02d}" + (f"_ses-{session}" if sessions > 1 else "")
            anat = folder / unit.replace("_", "/") / "anat"
            save_head(anat, unit, np.random.default_rng([person, session]), contrasts)
            if names:
                save_table(anat / f"{unit}_space-T1w_desc-spot_dseg.tsv", names)
    return folder


def save_head(anat, unit, rng, contrasts, spacing=2.0, size=36):
    radius, affine = distance(spacing, size)
    brain = radius < GRAY
    lesion = distance(spacing, size, rng.uniform(-12, 12, 3))[0] < rng.uniform(5, 8)
    levels = {"T1w": (0.7, 0.6), "FLAIR": (1.0, 2.0)}
    for contrast in contrasts:
        white, bright = levels[contrast]
        image = np.where(lesion, bright, np.where(radius < VENTRICLE, 0.3, white))
        image = 100 * (image + 0.05 * rng.standard_normal(image.shape)) * brain
        space = "" if contrast == "T1w" else "_space-T1w"
        save_volume(anat / f"{unit}{space}_desc-preproc_{contrast}.nii.gz", image.astype(np.float32), affine)
    save_volume(anat / f"{unit}_desc-brain_mask.nii.gz", brain, affine)
    save_volume(anat / f"{unit}_space-T1w_desc-spot_dseg.nii.gz", lesion.astype(np.int16), affine)
