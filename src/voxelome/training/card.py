"""What is written beside a trained network: its entry for a registry, and its model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxelome.segmentation.cards import file_sha256
from voxelome.training.contrasts import CHANNELS

Entry = dict[str, Any]
_NOT_FOR = "diagnosis, and any decision about a patient"
_LICENCE = "not decided; say here under which terms the weights may be used"


def synthetic_entry(grid: Mapping[str, Any]) -> Entry:
    """Entry of a network for lesions that synthetic images make, before it is trained."""
    inputs: list[Entry] = [
        {"contrast": "FLAIR", "need": "one", "clip": [-6.0, 10.0]},
        {"contrast": "T1w", "need": "optional", "clip": [-6.0, 10.0]},
        {"contrast": "T1w", "enhanced": True, "need": "one", "clip": [-6.0, 10.0]},
        {"contrast": "T2w", "need": "one", "clip": [-6.0, 10.0]},
    ]
    return {
        "title": "Lesions bright in FLAIR or T2w, and what of them enhances (from synthetic images alone)",
        "task": "segmentation",
        "inputs": inputs,
        "grid": dict(grid),
        "outputs": {"activation": "sigmoid", "labels": {1: "lesion", 2: "enhancing"}},
        "postprocess": [{"name": "minimum_volume", "ml": 0.01}],
        "lesions": True,
        "trained_on": "synthetic images alone, with planted lesions; no patient's image",
        "intended_use": "a first outline of lesions in research, looked at and mended by a person",
        "limits": "it has learned from no real image; how it does on real ones is not known",
    }


def labelled_entry(
    name: str,
    contrasts: Sequence[tuple[str, bool, bool]],
    labels: Mapping[int, str],
    grid: Mapping[str, Any],
) -> Entry:
    """Entry of a network for labels that somebody drew, before it is trained.

    Parameters
    ----------
    name : str
        Of the labels.
    contrasts : sequence of (suffix, whether with contrast agent, whether every case has it)
    labels : mapping
        Name by value.
    grid : mapping
    """
    inputs = []
    for suffix, enhanced, everywhere in contrasts:
        item: Entry = {"contrast": suffix, "need": "required" if everywhere else "optional"}
        inputs.append({**item, "clip": [-6.0, 10.0], **({"enhanced": True} if enhanced else {})})
    return {
        "title": f"{name}, learned from labels of a dataset",
        "task": "segmentation",
        "inputs": inputs,
        "grid": dict(grid),
        "outputs": {"activation": "softmax", "labels": dict(labels)},
        "intended_use": "research, on images such as those that it learned from, looked at by a person",
        "limits": "how it does on scanners, protocols and diseases that are not in its dataset is not known",
    }


def channels_of(inputs: Sequence[Mapping[str, Any]]) -> list[int | None]:
    """Channel of the synthetic images for each input; None for one that they do not have."""
    names = [
        f"{item['contrast']} enhanced" if item.get("enhanced") else str(item["contrast"]) for item in inputs
    ]
    return [CHANNELS.index(name) if name in CHANNELS else None for name in names]


def complete_entry(entry: Mapping[str, Any], model: Path) -> Entry:
    """Entry of a trained network as a registry takes it, its file lying beside the registry."""
    terms = {"licence": _LICENCE, "citation": "not published", "not_for": _NOT_FOR}
    file = {"path": model.name, "size": model.stat().st_size, "sha256": file_sha256(model)}
    source = {"framework": "onnx", "source": {"folder": "."}, "files": [file]}
    whole = {**terms, **entry, **source}
    order = ["title", "task", *source]
    return {key: whole[key] for key in [*order, *(key for key in whole if key not in order)]}


def card_text(
    name: str,
    entry: Mapping[str, Any],
    made: Mapping[str, Any],
    scores: Mapping[str, Sequence[Mapping[str, Any]]],
    versions: Mapping[str, str],
) -> str:
    """Model card in Markdown.

    Parameters
    ----------
    name : str
        Of the network.
    entry : mapping
        Complete.
    made : mapping
        How it was made.
    scores : mapping
        Tables of how it does on what it has not seen, by their headings.
    versions : mapping
        Of what took part.
    """
    parts = [f"# {name}", f"{entry['title']}.", "## How it was made", _facts(made)]
    parts += ["## How it does on what it has not seen"]
    for heading, rows in scores.items():
        parts += [f"{heading}:", _table(rows)] if rows else [f"{heading}: nothing was left to test on."]
    parts += ["## Intended use", f"For {entry['intended_use']}."]
    parts += ["It must not be used for " + str(entry["not_for"]) + ". It is no medical device."]
    if entry.get("limits"):
        parts += ["## Limits", f"Known: {entry['limits']}."]
    parts += ["## Terms", f"Licence: {entry['licence']}. Citation: {entry['citation']}."]
    parts += ["## Versions", _facts(versions)]
    return "\n\n".join(parts) + "\n"


def _facts(facts: Mapping[str, Any]) -> str:
    return "\n".join(f"- {key.replace('_', ' ')}: {_shown(value)}" for key, value in facts.items())


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    head = list(rows[0])
    lines = ["| " + " | ".join(key.replace("_", " ") for key in head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(_shown(row[key]) for key in head) + " |" for row in rows]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
