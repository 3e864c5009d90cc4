"""Names of files and units after the BIDS rules."""

from __future__ import annotations

from collections.abc import Mapping

from voxelome.bids.entities import SHORT_NAMES

# Order of the BIDS schema (1.10, rules.entities), with pybids' long names.
ORDER = (
    "subject",
    "session",
    "sample",
    "task",
    "tracksys",
    "acquisition",
    "nucleus",
    "volume",
    "ceagent",
    "tracer",
    "staining",
    "reconstruction",
    "direction",
    "run",
    "modality",
    "echo",
    "flip",
    "inv",
    "mt",
    "part",
    "proc",
    "hemi",
    "space",
    "recording",
    "chunk",
    "segmentation",
    "res",
    "den",
    "label",
    "from",
    "to",
    "mode",
    "desc",
)
# Key in a file's name by the long name.
ENTITIES = {name: SHORT_NAMES[name] for name in ORDER}
_PLACES = {name: place for place, name in enumerate(ORDER)}
# What tells the images of one session apart.
_TELLING = frozenset(ORDER).difference(("subject", "session", "echo", "part"))


def bids_name(entities: Mapping[str, object], suffix: str, extension: str) -> str:
    """File name of these entities (pybids' long names), in the order that BIDS gives.

    Examples
    --------
    >>> bids_name({"desc": "preproc", "subject": "01", "space": "T1w"}, "T2w", ".nii.gz")
    'sub-01_space-T1w_desc-preproc_T2w.nii.gz'
    """
    unknown = [name for name in entities if name not in ENTITIES]
    if unknown:
        raise KeyError(f"no BIDS entity {unknown[0]!r}")
    names = sorted(entities, key=_PLACES.__getitem__)
    parts = [f"{ENTITIES[name]}-{entities[name]}" for name in names if entities[name] is not None]
    return "_".join([*parts, suffix]) + extension


def contrast_label(entities: Mapping[str, object], suffix: str) -> str:
    """Name that tells one image of a session from the others, such as ``ce-gadolinium_T1w``."""
    keep = {name: value for name, value in entities.items() if name in _TELLING}
    return bids_name(keep, suffix, "") if keep else suffix


def split_label(label: str) -> tuple[dict[str, str], str]:
    """Entities and suffix of a label made by :func:`contrast_label`.

    Examples
    --------
    >>> split_label("ce-gadolinium_T1w")
    ({'ceagent': 'gadolinium'}, 'T1w')
    """
    long_names = {key: name for name, key in ENTITIES.items()}
    *parts, suffix = label.split("_")
    pairs = (part.split("-", 1) for part in parts)
    return {long_names[key]: value for key, value in pairs}, suffix


def space_label(label: str) -> str:
    """Label of an image as the value of an entity, which holds letters and digits only.

    Examples
    --------
    >>> space_label("acq-fast_MEGRE")
    'acqfastMEGRE'
    """
    return label.replace("-", "").replace("_", "")


def entity_value(name: str) -> str:
    """A name as the value of an entity: its letters and digits.

    Examples
    --------
    >>> entity_value("Left-Lateral-Ventricle")
    'LeftLateralVentricle'
    """
    return "".join(letter for letter in name if letter.isascii() and letter.isalnum())


def unit_name(subject: str, session: str | None) -> str:
    """Name of a subject's visit, such as ``sub-01_ses-1``."""
    return f"sub-{subject}" + (f"_ses-{session}" if session else "")


def unit_folder(subject: str, session: str | None) -> str:
    """Folder of a subject's visit below the dataset's root."""
    return f"sub-{subject}" + (f"/ses-{session}" if session else "")


def unit_entities(unit: str) -> dict[str, str]:
    """Entities subject and session of a unit's name."""
    parts = dict(part.split("-", 1) for part in unit.split("_"))
    return {"subject": parts["sub"], **({"session": parts["ses"]} if "ses" in parts else {})}
