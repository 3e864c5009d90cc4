"""Entities that a path says and the sidecars that apply to it, as pybids has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from voxelome.errors import InputError

DATATYPES = (
    *("anat", "beh", "dwi", "eeg", "fmap", "func", "ieeg"),
    *("meg", "micr", "motion", "mrs", "nirs", "perf", "pet"),
)

_LABEL = r"([a-zA-Z0-9+]+)"
_INDEX = r"([0-9]+)"

# pybids' long names; the key in file names; what a value looks like (pybids, layout/config/bids.json).
_RAW_KEYS: dict[str, tuple[str, str]] = {
    "subject": ("sub", _LABEL),
    "session": ("ses", _LABEL),
    "sample": ("sample", _LABEL),
    "task": ("task", _LABEL),
    "tracksys": ("tracksys", _LABEL),
    "acquisition": ("acq", _LABEL),
    "nucleus": ("nuc", _LABEL),
    "volume": ("voi", _LABEL),
    "ceagent": ("ce", _LABEL),
    "staining": ("stain", _LABEL),
    "tracer": ("trc", _LABEL),
    "reconstruction": ("rec", _LABEL),
    "direction": ("dir", _LABEL),
    "run": ("run", r"(\d+)"),
    "proc": ("proc", _LABEL),
    "modality": ("mod", _LABEL),
    "echo": ("echo", _INDEX),
    "flip": ("flip", _INDEX),
    "inv": ("inv", _INDEX),
    "mt": ("mt", "(on|off)"),
    "part": ("part", "(imag|mag|phase|real)"),
    "recording": ("recording", _LABEL),
    "space": ("space", _LABEL),
    "chunk": ("chunk", _INDEX),
}
# The same of derivatives (layout/config/derivatives.json).
_DERIVATIVE_KEYS: dict[str, tuple[str, str]] = {
    "atlas": ("atlas", _LABEL),
    "roi": ("roi", _LABEL),
    "label": ("label", _LABEL),
    "desc": ("desc", _LABEL),
    "from": ("from", _LABEL),
    "to": ("to", _LABEL),
    "mode": ("mode", _LABEL),
    "hemi": ("hemi", "(L|R)"),
    "segmentation": ("seg", _LABEL),
    "res": ("res", _LABEL),
    "den": ("den", _LABEL),
    "model": ("model", _LABEL),
    "subset": ("subset", _LABEL),
}
SHORT_NAMES: dict[str, str] = {name: key for name, (key, _) in {**_RAW_KEYS, **_DERIVATIVE_KEYS}.items()}
ENTITY_NAMES = (*SHORT_NAMES, "fmap", "suffix", "datatype", "extension")


def _patterns() -> dict[str, tuple[str, str]]:
    """Give pybids' patterns of raw data and a text without which each cannot match."""
    found = {}
    for name, (key, value) in _RAW_KEYS.items():
        before = r"[/\\]+" if name == "subject" else r"[_/\\]+"
        found[name] = (f"{key}-", f"{before}{key}-{value}")
    found["suffix"] = (".", r"(?:^|[_/\\])([a-zA-Z0-9+]+)\.[^/\\]+$")
    found["fmap"] = (".nii", r"(phasediff|magnitude[1-2]|phase[1-2]|fieldmap|epi)\.nii")
    found["datatype"] = ("/", rf"[/\\]+({'|'.join(DATATYPES)})[/\\]+")
    found["extension"] = (".", r"[^./\\](\.[^/\\]+)$")
    return found


def _derivative_patterns() -> dict[str, tuple[str, str]]:
    """Give pybids' patterns of what only derivatives have."""
    found = {}
    for name, (key, value) in _DERIVATIVE_KEYS.items():
        transform = name in ("from", "to", "mode")
        found[name] = (f"{key}-", rf"(?:^|_){key}-{value}.*xfm" if transform else f"{key}-{value}")
    return found


RAW_PATTERNS = _patterns()
DERIVATIVE_PATTERNS = _derivative_patterns()
_RAW = tuple((name, part, re.compile(text)) for name, (part, text) in RAW_PATTERNS.items())
_ALL = _RAW + tuple((name, part, re.compile(text)) for name, (part, text) in DERIVATIVE_PATTERNS.items())
_VALUES = {key: re.compile(value) for key, value in {**_RAW_KEYS, **_DERIVATIVE_KEYS}.values()}
_RAW_SHORT = frozenset(key for key, _ in _RAW_KEYS.values())


def parse_entities(path: str, *, derivative: bool = False) -> dict[str, str]:
    """Entities of a file by pybids' long names, with suffix, datatype and extension.

    Values are as they are written: pybids' ``run`` is a number that remembers its zeros and equals
    this text.

    Parameters
    ----------
    path : str
        Path with ``/``, relative to the dataset's root.
    derivative : bool
        Whether to read what only derivatives have (``desc``, ``label``, ...), as pybids does there.

    Examples
    --------
    >>> parse_entities("sub-01/anat/sub-01_run-02_T1w.nii.gz")
    {'subject': '01', 'run': '02', 'suffix': 'T1w', 'datatype': 'anat', 'extension': '.nii.gz'}
    """
    rooted = f"/{path}"
    entities = {}
    for name, part, pattern in _ALL if derivative else _RAW:
        if part in rooted:
            match = pattern.search(rooted)
            if match:
                entities[name] = match.group(1)
    return entities


def matching_value(name: str, value: object) -> object:
    """Value of an entity as pybids compares it: runs as numbers (``01`` equals ``1``), all else as text."""
    text = str(value)
    return int(text) if name == "run" and text.isdecimal() else text


def is_label(text: str) -> bool:
    """Whether a text can be the value of an entity, and therefore part of the name of a file and of a job."""
    return re.fullmatch(_LABEL, text) is not None


def suffix_of(path: str) -> str:
    """Suffix of a BIDS file name: what stands between the last ``_`` and the first dot after it."""
    return path.rsplit("/", 1)[-1].rsplit("_", 1)[-1].split(".", 1)[0]


def name_fault(path: str, entities: Mapping[str, str], *, derivative: bool = False) -> str:
    """Say what is not BIDS about the place or the name of an image; empty where all is well.

    Derivatives may have entities of their own; raw data may not, because two images that differ in
    nothing else would be taken for one.

    Examples
    --------
    >>> path = "sub-01/anat/sub-02_T1w.nii.gz"
    >>> name_fault(path, parse_entities(path))
    'lies in sub-01 but its name says sub-02'
    """
    *folders, name = path.split("/")
    place = dict(folder.split("-", 1) for folder in folders if "-" in folder)
    depth = 1 + len(place)
    if len(folders) != depth or folders[-1] not in DATATYPES:
        return "does not lie in a folder where BIDS has images"
    if folders[-1] != "anat":
        # Of raw data only anat is worked on; masks and maps may lie elsewhere.
        fault = "has a letter in its path that no name of BIDS has"
        return fault if derivative and not re.fullmatch(r"[A-Za-z0-9+_./-]+", path) else ""
    stem, _, extension = name.partition(".")
    *parts, suffix = stem.split("_")
    if f".{extension}" not in (".nii", ".nii.gz") or not re.fullmatch(_LABEL, suffix):
        return "has a name that does not end in '_<suffix>.nii' or '_<suffix>.nii.gz'"
    pairs = [part.partition("-")[::2] for part in parts]
    for key in ("sub", "ses"):
        said = next((value for short, value in pairs if short == key), None)
        if said != place.get(key):
            says = f"its name says {key}-{said}" if said is not None else f"its name has no {key}-"
            where = f"{key}-{place[key]}" if key in place else f"no {key}- folder"
            return f"lies in {where} but {says}"
    return _entity_fault(pairs, derivative)


def _entity_fault(pairs: list[tuple[str, str]], derivative: bool) -> str:
    """Say which part of a name is no entity of BIDS."""
    seen = set()
    for key, value in pairs:
        known = key in (_VALUES if derivative else _RAW_SHORT)
        if not known and not derivative:
            return f"has {f'{key}-{value}' if value else key!r} in its name, which is no entity of raw data"
        if not is_label(key):
            return f"has {key!r} in its name, which is no name of an entity"
        if key in seen:
            return f"has the entity {key}- twice in its name"
        if not re.fullmatch(_VALUES[key].pattern if known else _LABEL, value):
            return f"has {key}-{value} in its name, which is no value of that entity"
        seen.add(key)
    return ""


class Sidecars:
    """JSON files and label tables of a subject, and those at the dataset's root that it inherits.

    A sidecar applies to an image if it has its suffix, lies in its folder or above, and says no entity
    that the image does not have with the same value (BIDS, the inheritance principle).

    Parameters
    ----------
    paths : iterable of str
        ``.json`` and ``.tsv`` files, relative to the root.
    load : callable
        Gives the content of a JSON file; raises an InputError where it is not usable.
    derivative : bool
        Whether names are read as those of derivatives.
    """

    def __init__(
        self, paths: Iterable[str], load: Callable[[str], Mapping[str, Any]], *, derivative: bool = False
    ) -> None:
        self._load = load
        self._known: dict[tuple[str, str, str], list[tuple[dict[str, object], str]]] = {}
        for path in sorted(paths, key=_natural):
            entities = parse_entities(path, derivative=derivative)
            folder = path.rpartition("/")[0]
            key = (folder, entities.pop("extension", ""), entities.pop("suffix", ""))
            self._known.setdefault(key, []).append((_comparable(entities), path))

    def metadata(self, path: str, entities: Mapping[str, str]) -> tuple[dict[str, Any], list[InputError]]:
        """Metadata of an image, and what is wrong with its sidecars.

        What is nearer wins; of several in one folder the first in natural order does, as in pybids. A
        null takes away what was inherited.
        """
        merged: dict[str, Any] = {}
        source: dict[str, str] = {}
        faults = []
        for _, sidecar in self._applicable(path, entities, ".json", entities["suffix"]):
            try:
                content = self._load(sidecar)
            except InputError as error:
                faults.append(error)
            else:
                merged.update(content)
                source.update(dict.fromkeys(content, sidecar))
        for key in [key for key in merged if merged[key] is None or key in entities]:
            value = merged.pop(key)
            if value is not None and matching_value(key, value) != matching_value(key, entities[key]):
                problem = f"says {key} = {value!r}, but the image's name says {entities[key]}"
                faults.append(InputError(source[key], problem, "correct the one that is wrong"))
        return merged, faults

    def label_table(self, path: str, entities: Mapping[str, str]) -> str:
        """Table of the labels of a segmentation, empty where there is none.

        The nearest one, and in one folder the one with most entities. A ``dseg.tsv`` is for a mask only
        if it says something of the mask's name, such as ``desc``: a table of many structures at the
        root is not for every mask.
        """
        suffix = entities["suffix"]
        tables = list(self._applicable(path, entities, ".tsv", suffix))
        if suffix == "mask":
            general = {"subject", "session", "datatype"}
            of_segmentations = self._applicable(path, entities, ".tsv", "dseg")
            tables += [row for row in of_segmentations if set(row[0]) - general]
        return max(tables, key=lambda row: (row[1].count("/"), len(row[0])), default=({}, ""))[1]

    def _applicable(
        self, path: str, entities: Mapping[str, str], extension: str, suffix: str
    ) -> Iterator[tuple[dict[str, object], str]]:
        """Give entities and paths of sidecars from the root inwards, the one that wins last."""
        image = _comparable(entities)
        folders = path.split("/")[:-1]
        for depth in range(len(folders) + 1):
            rows = self._known.get(("/".join(folders[:depth]), extension, suffix), ())
            yield from (row for row in reversed(rows) if row[0].items() <= image.items())


def _comparable(entities: Mapping[str, str]) -> dict[str, object]:
    return {name: matching_value(name, value) for name, value in entities.items()}


def _natural(path: str) -> list[tuple[int, str]]:
    """Key that sorts numbers in a text by their value, as pybids sorts files."""
    parts = re.split("([0-9]+)", path.lower())
    return [(int(part), "") if odd % 2 else (0, part) for odd, part in enumerate(parts)]
