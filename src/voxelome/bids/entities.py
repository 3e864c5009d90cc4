"""Entities in the names of files, with pybids' meaning of them.

pybids searches the whole path with one pattern an entity; so does this module, in one pass over the
parts of the path. A test compares the two on generated datasets.
"""

from __future__ import annotations

import re
from functools import lru_cache

# pybids' long names (bids.json and derivatives.json) by the key in the file's name.
_ALPHANUMERIC = {
    "ses": "session", "sample": "sample", "task": "task", "tracksys": "tracksys", "acq": "acquisition",
    "nuc": "nucleus", "voi": "volume", "ce": "ceagent", "stain": "staining", "trc": "tracer",
    "rec": "reconstruction", "dir": "direction", "proc": "proc", "mod": "modality", "recording": "recording",
    "space": "space",
}  # fmt: skip
_DIGITS = {"run": "run", "echo": "echo", "flip": "flip", "inv": "inv", "chunk": "chunk"}
_CHOICES = {"mt": ("mt", "on|off"), "part": ("part", "imag|mag|phase|real")}
_DERIVATIVE = {
    "atlas": "atlas", "roi": "roi", "label": "label", "desc": "desc", "seg": "segmentation", "res": "res",
    "den": "den", "model": "model", "subset": "subset",
}  # fmt: skip
DATATYPES = frozenset("anat beh dwi eeg fmap func ieeg meg micr motion mrs nirs perf pet".split())
_VALUE = re.compile(r"[a-zA-Z0-9+]+")
_NUMBER = re.compile(r"\d+")
_CHOICE = {key: re.compile(pattern) for key, (_, pattern) in _CHOICES.items()}
_SUFFIX = re.compile(r"(?:^|[_/])([a-zA-Z0-9+]+)\.[^/]+$")
_EXTENSION = re.compile(r"[^./](\.[^/]+)$")

KNOWN = frozenset(
    ["subject", "suffix", "datatype", "extension", "mt", "part", "hemi"]
    + [*_ALPHANUMERIC.values(), *_DIGITS.values(), *_DERIVATIVE.values()]
)


def parse_entities(path: str, *, derivative: bool = False) -> dict[str, str]:
    """Entities of a path below the dataset's root, by pybids' long names, with suffix, datatype, extension.

    Numbers keep their zeros (``run-01`` gives ``01``), as pybids shows them.

    Examples
    --------
    >>> parse_entities("sub-01/anat/sub-01_run-01_T1w.nii.gz")
    {'subject': '01', 'run': '01', 'datatype': 'anat', 'suffix': 'T1w', 'extension': '.nii.gz'}
    """
    folder, _, name = path.rpartition("/")
    entities = dict(_folder_entities(folder, derivative))
    for part in name.split("_"):
        _add(part, entities, derivative)
    if name.startswith("sub-") and "subject" not in entities and (match := _VALUE.match(name, 4)):
        entities["subject"] = match.group()
    entities |= _datatype(folder)
    if match := _SUFFIX.search(name):
        entities["suffix"] = match.group(1)
    if match := _EXTENSION.search(name):
        entities["extension"] = match.group(1)
    return entities


@lru_cache(maxsize=4096)
def _folder_entities(folder: str, derivative: bool) -> tuple[tuple[str, str], ...]:
    entities: dict[str, str] = {}
    for part in folder.split("/"):
        if part.startswith("sub-") and "subject" not in entities and (match := _VALUE.match(part, 4)):
            entities["subject"] = match.group()
        for piece in part.split("_"):
            _add(piece, entities, derivative)
    return tuple(entities.items())


@lru_cache(maxsize=4096)
def _datatype(folder: str) -> dict[str, str]:
    found = next((part for part in folder.split("/") if part in DATATYPES), None)
    return {} if found is None else {"datatype": found}


def _add(part: str, entities: dict[str, str], derivative: bool) -> None:
    """Take in one ``key-value`` part unless an earlier one has its key."""
    key, dash, _ = part.partition("-")
    if not dash:
        return
    if key in _ALPHANUMERIC:
        name, pattern = _ALPHANUMERIC[key], _VALUE
    elif key in _DIGITS:
        name, pattern = _DIGITS[key], _NUMBER
    elif key in _CHOICES:
        name, pattern = _CHOICES[key][0], _CHOICE[key]
    elif derivative and key in _DERIVATIVE:
        name, pattern = _DERIVATIVE[key], _VALUE
    else:
        return
    if name not in entities and (match := pattern.match(part, len(key) + 1)):
        entities[name] = match.group()
