"""Methods of a run in words, from what its steps say that they did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from voxelome.references import Reference, references_for
from voxelome.step import StepRecord

# What is so in every run; the settings of the steps are told behind it.
METHODS = {
    "preprocess": "Images were checked and brought to RAS+ voxel order.",
    "register": "The other images were registered to the reference with ANTs (Mattes mutual information) and "
    "interpolated once. The reference was registered to the template with an affine and a SyN transform "
    "(Avants 2008); masks of lesions were left out of the comparison.",
    "midway": "The references of all visits were registered rigidly to each other, in both directions; the "
    "common space is the mean of those transforms, so that no visit is favoured (Reuter 2012). Each image "
    "was interpolated once.",
    "qsm": "Phase was unwrapped over space and echoes, the field fitted over the echo times, the background "
    "field removed and the dipole inverted. R2* was fitted to the magnitudes.",
    "segment": "Masks that came with the data were carried to the grids of the images with the rigid "
    "transforms.",
    "network": "Networks of the registry ran with ONNX Runtime, on windows with Gaussian weights and "
    "mirrored where their entry says so; probabilities were brought to the images' grid before the labels "
    "were decided.",
    "fusion": "Segmentations of several networks or raters were fused.",
    "change": "Lesions of two visits were matched by overlap in the common space; what differs by no more "
    "than a voxel's shell is stable. The score of a change is that of the images' intensities.",
    "radiomics": "Features and histograms were computed for every region on every image.",
    "robustness": "Each region was measured again after chains of small rotations, shifts, noise, and "
    "changes of the volume and of the outline (Zwanenburg 2019).",
}

_MANY = 3


def methods_of(records: Iterable[StepRecord]) -> list[str]:
    """Paragraphs on the methods of steps and the settings that they had, in the order in which data flow."""
    records = list(records)
    paragraphs = []
    for step, text in METHODS.items():
        named: dict[str, list[StepRecord]] = {}
        for record in records:
            if record.step == step:
                named.setdefault(_name(record), []).append(record)
        if named:
            paragraphs.append(
                " ".join([text, *(_settings(name, named[name]) for name in sorted(named))]).strip()
            )
    return paragraphs


def references_of(records: Iterable[StepRecord]) -> list[Reference]:
    """References of what was used: those of the steps, and those of the methods that their settings name."""
    used: dict[str, set[str]] = {}
    for record in records:
        used.setdefault(record.step, set()).update(_words(value) for value in record.parameters.values())
    return references_for({step: " ".join(words) for step, words in used.items()})


def _name(record: StepRecord) -> str:
    """Name of the network or fusion that a record is of; the empty string for other steps."""
    return str(record.parameters.get("model", record.parameters.get("name", "")))


def _settings(name: str, records: list[StepRecord]) -> str:
    """Sentence of the settings, with how many records had each where they differ."""
    values: dict[str, Counter[str]] = {}
    for record in records:
        for key, value in record.parameters.items():
            if words := _words(value):
                values.setdefault(key, Counter())[words] += 1
    told = [f"{key}: {_counted(counts)}" for key, counts in values.items()]
    return f"Settings{f' of {name}' if name else ''}: {'; '.join(told)}." if told else ""


def _counted(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    if len(counts) > _MANY:
        return "differs from image to image, as the sidecars say"
    return ", ".join(f"{words} ({count})" for words, count in counts.most_common())


def _words(value: Any) -> str:
    """Setting in words; the empty string where it has a form of its own, which the sidecar shows."""
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(str, value))
    return ""
