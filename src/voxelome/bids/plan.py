"""What each visit of each subject gets: the plan that the rules read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from voxelome.bids.inventory import BidsFile, SubjectInventory
from voxelome.bids.names import contrast_label, space_label, split_label, unit_folder, unit_name
from voxelome.bids.reference import REFERENCE_ORDER, reference_rank

GRADIENT_ECHO = ("MEGRE", "T2starw")
# Head CT, of which BIDS has no name yet: in anat/, and named in the .bidsignore of the dataset.
CT = "ct"
# Masks in the results of voxelome that are no regions of interest.
_OWN_MASKS = ("excluded", "qsm")
_NO_IMAGES_SPACE = re.compile("MNI|ICBM|OASIS|Talairach|fsaverage|fsLR|midway", re.IGNORECASE)


@dataclass(frozen=True)
class Contrast:
    """An anatomical image of a visit: MRI, or CT."""

    label: str
    path: str
    digest: str


@dataclass(frozen=True)
class GradientEcho:
    """A gradient-echo acquisition: its echoes in the order of their times.

    ``phase`` is empty where there is none. ``real`` and ``imaginary`` are empty where magnitude and phase
    are there. Times in s, ``field_strength`` in T (0: unknown); ``phase_times`` are those of the phase or
    imaginary images. ``phase_difference`` says that the phase lies between two echoes. ``manufacturer`` is
    empty where the sidecars name none, or several.
    """

    label: str
    magnitude: tuple[str, ...]
    phase: tuple[str, ...]
    echo_times: tuple[float, ...]
    field_strength: float
    phase_units: str
    digest: str
    real: tuple[str, ...] = ()
    imaginary: tuple[str, ...] = ()
    phase_times: tuple[float, ...] = ()
    phase_difference: bool = False
    manufacturer: str = ""

    @property
    def complex(self) -> bool:
        """Whether the magnitude has to be made out of real and imaginary images."""
        return not self.magnitude and bool(self.real and self.imaginary)

    @property
    def first(self) -> str:
        """Image that stands for the acquisition: the first magnitude, or the real part that it is made of."""
        return next(iter(self.magnitude or self.real), "") if self.magnitude or self.complex else ""


@dataclass(frozen=True)
class Mask:
    """A segmentation, or a map of numbers, that the user gives."""

    name: str
    path: str
    label_table: str
    digest: str


@dataclass(frozen=True)
class Unit:
    """A subject's visit and what its data allow.

    ``contrasts`` are MRI, of which one is the reference; ``cts`` are CT, which only networks work on.
    """

    subject: str
    session: str | None
    contrasts: tuple[Contrast, ...] = ()
    gradient_echoes: tuple[GradientEcho, ...] = ()
    masks: tuple[Mask, ...] = ()
    brain_masks: tuple[Mask, ...] = ()
    maps: tuple[Mask, ...] = ()
    skipped: tuple[dict[str, str], ...] = ()
    problems: tuple[dict[str, str], ...] = ()
    cts: tuple[Contrast, ...] = ()

    @property
    def name(self) -> str:
        """Name such as ``sub-01_ses-1``."""
        return unit_name(self.subject, self.session)

    @property
    def folder(self) -> str:
        """Folder below the output's root."""
        return unit_folder(self.subject, self.session)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to work on."""
        return not self.mri and not self.cts

    @property
    def mri(self) -> bool:
        """Whether there is anything for the stages that work on MRI."""
        return bool(self.contrasts or self.gradient_echoes)

    @property
    def references(self) -> list[str]:
        """Labels of the images that may be the reference, best first; the first that is usable is."""
        return sorted((item.label for item in self.contrasts), key=reference_rank)

    @property
    def reference(self) -> str:
        """Label of the image that is the reference if it is usable; empty where there is none."""
        return next(iter(self.references), "")

    def lesions(self, patterns: Iterable[str]) -> list[Mask]:
        """Masks whose names match one of these patterns, such as ``*tumor*``, in any case."""
        return [
            mask
            for mask in self.masks
            if any(fnmatchcase(mask.name.lower(), pattern.lower()) for pattern in patterns)
        ]

    @property
    def images(self) -> list[str]:
        """Images that are preprocessed: the contrasts, and the first magnitude of each gradient echo.

        Of an acquisition of real and imaginary images, the real part; :attr:`imaginary` has the other.
        """
        return [item.path for item in self.contrasts] + [
            item.first for item in self.gradient_echoes if item.first
        ]

    @property
    def image_labels(self) -> list[str]:
        """Labels of :attr:`images`, in their order."""
        return [item.label for item in self.contrasts] + self.magnitude_labels

    @property
    def magnitude_labels(self) -> list[str]:
        """Labels of the gradient-echo acquisitions that have a magnitude."""
        return [item.label for item in self.gradient_echoes if item.first]

    @property
    def complex_labels(self) -> list[str]:
        """Labels of those of :attr:`images` that are real parts."""
        return [item.label for item in self.gradient_echoes if item.complex]

    @property
    def imaginary(self) -> list[str]:
        """Imaginary parts of :attr:`complex_labels`, in their order."""
        return [item.imaginary[0] for item in self.gradient_echoes if item.complex]

    @property
    def image_digest(self) -> str:
        """Digest of the content of :attr:`images`."""
        return self.digest(self.contrasts, [item.digest for item in self.gradient_echoes])

    def gradient_echo(self, label: str) -> GradientEcho:
        """Acquisition of this label."""
        return next(item for item in self.gradient_echoes if item.label == label)

    def digest(self, *parts: object) -> str:
        """Digest of the content of the files that a job reads."""
        text = json.dumps([_content(part) for part in parts], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_PATHS = ("path", "magnitude", "phase", "real", "imaginary")


def _content(part: object) -> object:
    """Digests stand for files: moving a dataset changes no content."""
    if isinstance(part, Contrast | GradientEcho | Mask):
        return {key: value for key, value in asdict(part).items() if key not in _PATHS}
    if isinstance(part, tuple | list):
        return [_content(item) for item in part]
    return part


@dataclass
class _Visit:
    raw: list[BidsFile] = field(default_factory=list)
    masks: list[tuple[Path, BidsFile]] = field(default_factory=list)


def plan_subject(
    inventory: SubjectInventory,
    bids_dir: Path,
    derivatives: Mapping[str, Path],
    sessions: Sequence[str] = (),
    maps: Sequence[str] = (),
) -> list[Unit]:
    """Units of one subject, one a visit, in the order of their sessions."""
    visits: dict[str | None, _Visit] = {}
    for file in inventory.files:
        visits.setdefault(_session(file), _Visit()).raw.append(file)
    for name, files in inventory.derivatives.items():
        for file in files:
            if _session(file) in visits:
                visits[_session(file)].masks.append((derivatives[name], file))
    broken = {problem["path"] for problem in inventory.problems}
    return [
        _plan_visit(inventory, session, visit, bids_dir, broken, maps)
        for session, visit in sorted(visits.items(), key=lambda item: item[0] or "")
        if not sessions or session in sessions
    ]


def _session(file: BidsFile) -> str | None:
    value = file.entities.get("session")
    return None if value is None else str(value)


def _plan_visit(
    inventory: SubjectInventory,
    session: str | None,
    visit: _Visit,
    bids_dir: Path,
    broken: set[str],
    maps: Sequence[str],
) -> Unit:
    # Joined as text: a path object for each image of ten thousand subjects takes seconds.
    root = str(bids_dir)
    skipped: list[dict[str, str]] = []
    contrasts: list[Contrast] = []
    cts: list[Contrast] = []
    echoes: dict[str, list[BidsFile]] = {}
    given_maps = [(root, file) for root, file in visit.masks if _is_map(file, maps)]
    for file in sorted(visit.raw, key=lambda item: item.path):
        suffix = str(file.entities.get("suffix", ""))
        if file.entities.get("datatype") != "anat":
            skipped.append({"what": file.path, "why": "only anatomical images are worked on"})
        elif file.path in broken:
            skipped.append({"what": file.path, "why": "it has a problem, see there"})
        elif suffix not in REFERENCE_ORDER and _is_map(file, maps):
            given_maps.append((bids_dir, file))
        elif suffix in GRADIENT_ECHO:
            echoes.setdefault(contrast_label(file.entities, suffix), []).append(file)
        elif suffix in (*REFERENCE_ORDER, CT):
            image = Contrast(contrast_label(file.entities, suffix), f"{root}/{file.path}", file.digest)
            (cts if suffix == CT else contrasts).append(image)
        elif suffix == "phasediff":
            why = "it is a difference of phases, and susceptibility needs the phase of each echo"
            skipped.append({"what": file.path, "why": why})
        else:
            skipped.append({"what": file.path, "why": f"no step works on {suffix or 'such'} images"})
    gradient_echoes = [
        _gradient_echo(label, files, bids_dir, skipped) for label, files in sorted(echoes.items())
    ]
    images = [item.label for item in (*contrasts, *cts)] + [item.label for item in gradient_echoes]
    given = _masks(visit.masks, images, skipped)
    masks = [mask for mask in given if mask.name != "brain"]
    if contrasts or gradient_echoes or not cts:
        _explain(contrasts, gradient_echoes, masks, skipped)
    else:
        why = f"there is no MRI, only {', '.join(item.label for item in cts)}"
        skipped.append({"what": "all that is made from MRI", "why": why})
    problems = [dict(item) for item in inventory.problems if _belongs(item["path"], session)]
    maps_found = _maps(given_maps, skipped)
    return Unit(
        inventory.subject,
        session,
        tuple(contrasts),
        tuple(gradient_echoes),
        tuple(masks),
        tuple(mask for mask in given if mask.name == "brain"),
        maps_found,
        tuple(skipped),
        tuple(problems),
        tuple(cts),
    )


def _masks(
    files: Sequence[tuple[Path, BidsFile]], images: Sequence[str], skipped: list[dict[str, str]]
) -> list[Mask]:
    """Masks of a visit, each from one space: voxelome's own results, as others, have them in several."""
    ranked: list[tuple[int, Path, BidsFile]] = []
    best: dict[tuple[Path, str], int] = {}
    for root, file in files:
        if file.entities.get("suffix") not in ("mask", "dseg"):
            continue
        name, rank = _mask_name(file), _space_rank(file, images)
        if name in _OWN_MASKS:
            skipped.append({"what": str(root / file.path), "why": "voxelome makes this mask for itself"})
        elif rank is None:
            why = f"it lies in the space {file.entities['space']}, which is that of no image of the visit"
            skipped.append({"what": str(root / file.path), "why": why})
        else:
            ranked.append((rank, root, file))
            best[root, name] = min(rank, best.get((root, name), rank))
    masks = []
    for rank, root, file in ranked:
        name, path = _mask_name(file), str(root / file.path)
        if rank > best[root, name]:
            skipped.append({"what": path, "why": f"{name} is there in a space that comes first"})
            continue
        table = str(root / file.label_table) if file.label_table else ""
        masks.append(Mask(name, path, table, file.digest))
    return masks


def _space_rank(file: BidsFile, images: Sequence[str]) -> int | None:
    """Place of a mask's space: its own, the images' in their order, unknown ones; None for a template's."""
    space = file.entities.get("space")
    if space is None:
        return 0
    known = [space_label(form) for image in images for form in (split_label(image)[1], image)]
    if space in known:
        return 1 + known.index(str(space))
    # Other programs name an image's grid as they like; its header tells whose it is.
    return None if _NO_IMAGES_SPACE.match(str(space)) else 1 + len(known)


def _is_map(file: BidsFile, patterns: Sequence[str]) -> bool:
    suffix = str(file.entities.get("suffix", ""))
    return suffix not in ("mask", "dseg") and any(fnmatchcase(suffix, pattern) for pattern in patterns)


def _maps(given: Sequence[tuple[Path, BidsFile]], skipped: list[dict[str, str]]) -> tuple[Mask, ...]:
    """Maps of a visit; of those with one name the first."""
    found: dict[str, Mask] = {}
    for root, file in given:
        label = _map_label(file)
        if label in found:
            skipped.append({"what": str(root / file.path), "why": f"there is another map {label}"})
        else:
            found[label] = Mask(label, str(root / file.path), "", file.digest)
    return tuple(found.values())


def _map_label(file: BidsFile) -> str:
    """Name that tells one map of a visit from the others; where it lies its header says."""
    named = {key: value for key, value in file.entities.items() if key != "space"}
    return contrast_label(named, str(file.entities["suffix"]))


def _mask_name(file: BidsFile) -> str:
    return str(file.entities.get("desc") or file.entities.get("label") or "mask")


def _belongs(path: str, session: str | None) -> bool:
    return session is None or f"/ses-{session}/" in path or "/ses-" not in path


def _gradient_echo(
    label: str, files: list[BidsFile], bids_dir: Path, skipped: list[dict[str, str]]
) -> GradientEcho:
    """Sort the echoes of one acquisition by their times."""
    root = str(bids_dir)

    def parts(*names: str | None) -> list[BidsFile]:
        chosen = [file for file in files if file.entities.get("part") in names]
        return sorted(chosen, key=lambda file: (_number(file, "EchoTime"), file.path))

    magnitude, phase = parts("mag", None), parts("phase")
    real, imaginary = _complex_parts(magnitude, phase, parts("real"), parts("imag"), skipped)
    reading = magnitude or real or phase or imaginary
    turning = phase or imaginary
    units = {str(file.metadata.get("Units", "")) for file in phase}
    makers = {str(file.metadata["Manufacturer"]) for file in turning if "Manufacturer" in file.metadata}
    used = [*magnitude, *phase, *real, *imaginary]

    def paths(chosen: Sequence[BidsFile]) -> tuple[str, ...]:
        return tuple(f"{root}/{file.path}" for file in chosen)

    return GradientEcho(
        label,
        paths(magnitude),
        paths(phase),
        tuple(_number(file, "EchoTime") for file in reading),
        _number(reading[0], "MagneticFieldStrength") if reading else 0.0,
        units.pop() if len(units) == 1 else "",
        hashlib.sha256("".join(file.digest for file in used).encode()).hexdigest()[:16],
        paths(real),
        paths(imaginary),
        tuple(_number(file, "EchoTime") for file in turning),
        any("EchoTime1" in file.metadata and "EchoTime2" in file.metadata for file in phase),
        makers.pop() if len(makers) == 1 else "",
    )


def _complex_parts(
    magnitude: Sequence[BidsFile],
    phase: Sequence[BidsFile],
    real: Sequence[BidsFile],
    imaginary: Sequence[BidsFile],
    skipped: list[dict[str, str]],
) -> tuple[Sequence[BidsFile], Sequence[BidsFile]]:
    """Real and imaginary images where magnitude or phase has to be made out of them.

    One without the other is kept only where there is nothing else: the step then says what is missing.
    """
    why = ""
    if magnitude and phase:
        why = "magnitude and phase are used"
    elif (magnitude or phase) and not (real and imaginary):
        why = f"the {'imaginary' if real else 'real'} part is missing"
    if why:
        skipped.extend({"what": file.path, "why": why} for file in [*real, *imaginary])
        return (), ()
    return real, imaginary


def _number(file: BidsFile, key: str) -> float:
    """Numeric metadata, 0 where it is missing (the step says so by name)."""
    value = file.metadata.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def _explain(
    contrasts: Sequence[Contrast],
    gradient_echoes: Sequence[GradientEcho],
    masks: Sequence[Mask],
    skipped: list[dict[str, str]],
) -> None:
    """Say what this visit cannot get and why."""
    if not contrasts:
        skipped.append(
            {
                "what": "brain mask of the visit, registration, template space",
                "why": "there is no T1w, T2w, FLAIR or PDw image to serve as reference",
            }
        )
    elif len(contrasts) == 1 and not gradient_echoes:
        why = f"there is only one image, {contrasts[0].label}"
        skipped.append({"what": "registration between contrasts", "why": why})
    if not gradient_echoes:
        skipped.append(
            {"what": "R2*, SWI and susceptibility maps", "why": "there is no gradient-echo acquisition"}
        )
    for echo in gradient_echoes:
        if not echo.phase and not echo.imaginary:
            skipped.append(
                {"what": f"SWI and susceptibility of {echo.label}", "why": "there is no phase image"}
            )
    if not masks:
        skipped.append(
            {"what": "features of lesions or other regions", "why": "no masks were given (--derivatives)"}
        )


def load_plan(
    inventories: Mapping[str, SubjectInventory],
    bids_dir: Path,
    derivatives: Mapping[str, Path],
    *,
    participants: Sequence[str] = (),
    sessions: Sequence[str] = (),
    maps: Sequence[str] = (),
) -> LazyPlan:
    """Plan of these subjects and sessions, or of all.

    `maps` are patterns of suffixes, such as ``ADC``, of images that are measured as they are.
    """
    chosen = set(participants)
    labels = [label for label in inventories if not chosen or label in chosen]
    return LazyPlan(
        labels, lambda label: plan_subject(inventories[label], bids_dir, derivatives, sessions, maps)
    )


class LazyPlan(Mapping[str, Unit]):
    """All units by name, those without any usable image left out; a subject is planned when it is asked for.

    A process that does one job of a cluster reads one subject, however many there are, and one that knows
    most of them to be finished none of these.

    Parameters
    ----------
    labels : iterable of str
        Labels of the subjects.
    plan_one : callable
        Gives the units of a subject.
    """

    def __init__(self, labels: Iterable[str], plan_one: Callable[[str], Iterable[Unit]]) -> None:
        self._labels, self._plan_one = dict.fromkeys(labels), plan_one
        self._known: dict[str, dict[str, Unit]] = {}

    @property
    def labels(self) -> list[str]:
        """Labels of the subjects."""
        return list(self._labels)

    def visits(self, label: str) -> list[Unit]:
        """Visits of one subject that have something to work on."""
        return list(self._units(label).values())

    def _units(self, label: str) -> dict[str, Unit]:
        if label not in self._labels:
            raise KeyError(label)
        if label not in self._known:
            self._known[label] = {unit.name: unit for unit in self._plan_one(label) if not unit.empty}
        return self._known[label]

    def __getitem__(self, name: str) -> Unit:
        """Give a unit by its name."""
        return self._units(name.split("_", maxsplit=1)[0].removeprefix("sub-"))[name]

    def __iter__(self) -> Iterator[str]:
        """Go through all names; this plans all subjects."""
        return (name for label in self._labels for name in self._units(label))

    def __len__(self) -> int:
        """Count the units; this plans all subjects."""
        return sum(len(self._units(label)) for label in self._labels)


def visits_by_subject(plan: Mapping[str, Unit]) -> dict[str, list[Unit]]:
    """Units of a plan by the label of the subject, in their order."""
    subjects: dict[str, list[Unit]] = {}
    for unit in plan.values():
        subjects.setdefault(unit.subject, []).append(unit)
    return subjects
