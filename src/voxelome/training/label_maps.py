"""Label maps that a user gives to synthesise images from: which label is which tissue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from voxelome.errors import DataError, blame, listed
from voxelome.interfaces.masks import load_labels
from voxelome.interfaces.segment import label_names
from voxelome.training.anatomy import Anatomy, Tissue, anatomy_from_labels
from voxelome.training.sides import without_side

# Tissue by what a name holds, the first that fits; None is no part of the brain. The names are those of
# FreeSurfer, SynthSeg and MeshNet, in lower case and without sides, digits and punctuation.
_WORDS: tuple[tuple[str, Tissue | None], ...] = (
    ("vent(ricle)?s?$|ventricle|latvent|choroid", "ventricle"),
    ("unknown|background|exterior|skull|bone|skin|scalp|eye|vessel|air$|outside", None),
    ("csf|cerebrospinal|fluid", "csf"),
    ("thalamus|caudate|putamen|pallidum|accumbens", "deep"),
    ("hypointensit|whitematter|^wm|wm$|brainstem|pons$|medulla|^cc|corpuscallosum|fornix|opticchiasm", "wm"),
    ("cortex|^ctx|graymatter|greymatter|^gm|gm$|hippocamp|amygdala|ventraldc|vermis|insula", "gm"),
)
# FreeSurfer's numbers (FreeSurferColorLUT.txt), which it and SynthSeg write without a table.
_FREESURFER: dict[Tissue, tuple[int, ...]] = {
    "ventricle": (4, 5, 14, 15, 31, 43, 44, 63, 72),
    "csf": (24,),
    "deep": (9, 10, 11, 12, 13, 26, 48, 49, 50, 51, 52, 58),
    "wm": (2, 7, 16, 41, 46, 77, 78, 79, 85, 251, 252, 253, 254, 255, 5001, 5002),
    "gm": (3, 8, 17, 18, 28, 42, 47, 53, 54, 60, 80, 81, 82),
}
_OUTSIDE = (30, 62)
_BOTH_SIDES = {2, 41}


def load_anatomy(path: Path) -> Anatomy:
    """Anatomy of a label map: an image of labels, with a table of their names beside it.

    Parameters
    ----------
    path : path
        Image; its table (columns ``index`` and ``name``) has its name and ends in ``.tsv``. Without a table
        the labels must be FreeSurfer's numbers, of both sides.

    Raises
    ------
    InputError
        The image cannot be read, a label has no name or a name of no known tissue, or a tissue is missing.
    """
    labels, affine = load_labels(path)
    table = path.with_name(path.name.split(".")[0] + ".tsv")
    with blame(path):
        if table.is_file():
            tissues = tissues_of_names(label_names(path, path.name, str(table), labels))
        else:
            tissues = tissues_of_freesurfer([int(value) for value in np.unique(labels) if value])
        return anatomy_from_labels(labels, affine, tissues, path.name.split(".")[0])


def tissue_of(name: str) -> Tissue | None:
    """Tissue of a structure by its name; None for what is no part of the brain.

    Raises
    ------
    DataError
        Nothing in the name says a tissue.

    Examples
    --------
    >>> tissue_of("Left-Cerebral-White-Matter"), tissue_of("3rd-Ventricle"), tissue_of("ctx-lh-cuneus")
    ('wm', 'ventricle', 'gm')
    """
    plain = re.sub("[^a-z]", "", without_side(name))
    for words, tissue in _WORDS:
        if re.search(words, plain):
            return tissue
    raise DataError(
        f"the label {name!r} names no tissue that is known",
        "give names such as those of FreeSurfer: Cerebral-White-Matter, Lateral-Ventricle, Thalamus",
    )


def tissues_of_names(names: Mapping[int, str]) -> dict[int, Tissue]:
    """Tissue by label, from the names of the labels; what is no part of the brain is left out."""
    found = {label: tissue_of(name) for label, name in names.items()}
    return {label: tissue for label, tissue in found.items() if tissue is not None}


def tissues_of_freesurfer(labels: Iterable[int]) -> dict[int, Tissue]:
    """Tissue by label, by FreeSurfer's numbers.

    Raises
    ------
    DataError
        White matter of either side is not there, so that they may be other numbers; or one is not known.
    """
    present = set(labels)
    remedy = "put a table with the columns index and name beside it, with its name and .tsv"
    if not present >= _BOTH_SIDES:
        raise DataError("nothing names its labels, and they are not FreeSurfer's of both sides", remedy)
    known = {label: tissue for tissue, numbers in _FREESURFER.items() for label in numbers}
    parcels: dict[int, Tissue] = {1: "gm", 2: "gm", 3: "wm", 4: "wm", 11: "gm", 12: "gm"}
    found: dict[int, Tissue] = {}
    for label in present:
        # 1001 to 2999 are parcels of the cortex, 3001 to 4999 of the white matter, 11100 on of a finer atlas.
        tissue = known.get(label) or parcels.get(label // 1000)
        if tissue is not None:
            found[label] = tissue
    unknown = present - set(found) - set(_OUTSIDE)
    if unknown:
        raise DataError(f"label {listed(sorted(unknown))} is none of FreeSurfer's", remedy)
    return found
