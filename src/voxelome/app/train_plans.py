"""What `voxelome-tools train` trains on: synthetic images, a dataset with labels, or simulated heads."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from voxelome.app.train_entry import (
    MODEL,
    chosen_entry,
    entry_of_file,
    grid_fields,
    spec_of,
    synthetic_channels,
)
from voxelome.app.train_folder import claim, write
from voxelome.app.train_packages import versions
from voxelome.errors import InputError, listed
from voxelome.segmentation.cards import digest, file_sha256
from voxelome.segmentation.engine import Forward
from voxelome.segmentation.spec import NetworkSpec
from voxelome.training.card import card_text, complete_entry, labelled_entry, synthetic_entry
from voxelome.training.evaluate import CASES, Row, case_scores, synthetic_scores
from voxelome.training.supply import MIRROR, Source, mirror_chances

# Room around a patch in a synthetic example, so that it is not always at the same place.
_ROOM = 8
Claim = Callable[[Mapping[str, Any]], Path]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """A training that can begin.

    Attributes
    ----------
    entry : dict
        Of the network, without what is known only when it is trained.
    spec : NetworkSpec
    source : Source
        Makes the examples.
    mirror : tuple of float
        How often they are mirrored along each axis.
    made : dict
        What the card says of the images.
    score : callable
        Of the exported network: tables for the card, by their headings.
    """

    entry: dict[str, Any]
    spec: NetworkSpec
    source: Source
    mirror: tuple[float, float, float]
    made: dict[str, Any]
    score: Callable[[list[Forward]], dict[str, list[Row]]]


def plan_synthetic(options: argparse.Namespace, patch: int, claim_folder: Claim, say: Say) -> Plan:
    """Training on synthetic images of the brains of label maps, or of the template."""
    from voxelome.training.synthesis import Synthetic

    about = options.entry or "train"
    default = synthetic_entry(grid_fields(options.spacing, options.patch, patch))
    own = entry_of_file(options.entry, options.name)
    if "inputs" in own and not any(item.get("enhanced") for item in own["inputs"]):
        default["outputs"]["labels"] = {1: "lesion"}
    entry = chosen_entry(default, own, options.spacing, options.patch, about)
    spec = spec_of(entry, options.name, about)
    channels = synthetic_channels(spec, entry["inputs"], about)
    absent = [path for path in options.label_maps if not path.is_file()]
    if absent:
        raise InputError(absent[0], "there is no such image", "check the name")
    maps = [(path, file_sha256(path)) for path in options.label_maps]
    # Label maps of several people often have one name.
    named = [[path.name, sha256] for path, sha256 in maps]
    folder = claim_folder({"images": "synthetic", "label_maps": named, "entry": _digest(entry)})
    anatomies = _anatomies(maps, folder)
    sizes = [edge + edge // _ROOM for edge in spec.grid.patch]
    source = Synthetic(
        anatomies, (sizes[0], sizes[1], sizes[2]), spec.grid.spacing[0], channels, len(spec.labels)
    )

    def score(members: list[Forward]) -> dict[str, list[Row]]:
        heading = "Dice of the whole lesion in new synthetic cases, with seeds that no training used"
        # Boxes of one window each: what the network sees at once.
        boxes = replace(source, shape=spec.grid.patch)
        return {heading: synthetic_scores(boxes, spec, members, options.seed, CASES)}

    names = [path.name for path, _ in maps]
    made = {"images": "synthetic", "label_maps": names or "the MNI template that nilearn brings"}
    # A synthetic head has no sides: each is mirrored, or not, when it is made.
    return Plan(entry, spec, source, MIRROR, made, score)


def _anatomies(maps: Sequence[tuple[Path | None, str]], folder: Path) -> tuple[Path, ...]:
    """Files of the anatomies of label maps (with their checksums), or of the template's; made once."""
    from voxelome.training.anatomy import template_anatomy
    from voxelome.training.label_maps import load_anatomy

    files = []
    for path, sha256 in maps or [(None, "template")]:
        files.append(folder / f"anatomy-{sha256[:16]}.npz")
        if not files[-1].is_file():
            (template_anatomy() if path is None else load_anatomy(path)).save(files[-1])
    return tuple(files)


def plan_labelled(options: argparse.Namespace, patch: int, claim_folder: Claim, say: Say) -> Plan:
    """Training on images and labels that a run of voxelome left."""
    from voxelome.training.labelled import Labelled, store_cases
    from voxelome.training.labelled_files import cases_for, contrasts_of, find_visits, names_of, split

    about = options.entry or "train"
    visits = find_visits(options.derivatives.resolve(), options.labels)
    names = names_of(visits, options.labels)
    grid = grid_fields(options.spacing, options.patch, patch)
    default = labelled_entry(options.labels, contrasts_of(visits), names, grid)
    own = entry_of_file(options.entry, options.name)
    entry = chosen_entry(default, own, options.spacing, options.patch, about)
    spec = spec_of(entry, options.name, about)
    cases, said = cases_for(visits, spec)
    training, testing = split(cases, options.seed)
    for text in said:
        say(text)
    request = {case.unit: case.digest for case in cases}
    folder = claim_folder({"images": options.labels, "cases": digest(request), "entry": _digest(entry)})
    stored = store_cases(training, spec, folder / "cases", say)
    source = Labelled(stored, spec, spec.grid.patch)

    def score(members: list[Forward]) -> dict[str, list[Row]]:
        return {
            "Dice in the participants who were left out of the training": case_scores(testing, spec, members)
        }

    left_out = sorted({case.participant for case in testing})
    shown = f"{len(training)} visit(s) of {len({case.participant for case in training})} participant(s)"
    entry.setdefault("trained_on", f"images of {shown}, with the labels {options.labels} of their dataset")
    made = {
        "images": shown,
        "labels": options.labels,
        "left_out_to_test_on": listed(left_out, most=40),
    }
    return Plan(entry, spec, source, mirror_chances(spec), made, score)


def demonstrate(options: argparse.Namespace, device: str, say: Say) -> None:
    """Train one of the small networks of whole cases that show the way, and write what belongs to it."""
    from voxelome.training import cases

    run, base = {
        "bleed": (cases.train_bleed, cases.BLEED),
        "age": (cases.train_age, cases.AGE),
    }[options.demo]
    request = {"images": options.demo, "steps": options.steps, "seed": options.seed}
    claim(options.out, request)
    length = {} if options.steps is None else {"steps": options.steps}
    facts = run(options.out, options.seed, device=device, tell=lambda now: say(str(now)), **length)
    described = {
        "title": f"Demonstration: {'haemorrhage on head CT' if options.demo == 'bleed' else 'age from T1w'}",
        **{key: value for key, value in base.items() if key != "name"},
        "trained_on": "simulated heads alone; no image of a person",
        "intended_use": "showing how a network of whole cases is trained and used",
        "not_for": "any statement about a person",
        "limits": "it has seen simulated heads alone",
    }
    entry = complete_entry(described, options.out / MODEL)
    scores = {
        f"In simulated heads that it has not seen, {words}": [facts[key]]
        for key, words in (
            ("familiar", "acquired as those of the training"),
            ("unseen", "acquired otherwise"),
        )
    }
    made = {key: value for key, value in facts.items() if not isinstance(value, dict)} | {"device": device}
    write(options.out, options.name, entry, card_text(options.name, entry, made, scores, versions(options)))


def _digest(entry: Mapping[str, Any]) -> str:
    """Digest of what decides the training."""
    parts = {key: entry[key] for key in ("inputs", "grid")}
    outputs = entry["outputs"]
    labels = {str(value): name for value, name in outputs["labels"].items()}
    return digest({**parts, "activation": outputs.get("activation", "softmax"), "labels": labels})[:16]
