"""What a network is to be, before it is trained: its entry, from defaults, a file and the command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxelome.app.config import merge
from voxelome.app.models import NAME, check_fields, check_network
from voxelome.errors import InputError, suggest
from voxelome.imageio import load_yaml
from voxelome.segmentation.spec import NetworkSpec, parse_spec
from voxelome.training.card import Entry, channels_of
from voxelome.training.sides import left_right_axes, names_side

MODEL = "model.onnx"
# The network halves its grid four times.
_STEP = 16
# Fields that the command writes itself.
_OWN = ("framework", "source", "files", "members")


def check_name(name: str) -> str:
    """The name of a network, if it can be one.

    Raises
    ------
    InputError
        It cannot.
    """
    if not (name.isascii() and name.isalnum() and name[0].isalpha()):
        raise InputError("train", f"{name!r} cannot name a model", f"take {NAME}")
    return name


def entry_of_file(path: Path | None, name: str) -> Entry:
    """What a file of the user says of a network: a registry, with an entry of its name; empty without one.

    Raises
    ------
    InputError
        It has no such entry.
    """
    if path is None:
        return {}
    entries = load_yaml(path)
    if not isinstance(entries.get(name), dict):
        problem = f"has no entry {name}, or one without fields"
        raise InputError(path, problem, suggest(name, [str(key) for key in entries]))
    return {key: value for key, value in entries[name].items() if key not in _OWN}


def grid_fields(spacing: float | None, patch: int | None, default_patch: int) -> Entry:
    """Grid by the command line: isotropic voxels, cubic patch."""
    size = [patch or default_patch] * 3
    fields = {"kind": "spacing", "spacing": [spacing or 1.0] * 3, "orientation": "RAS", "patch": size}
    return {**fields, "overlap": 0.5}


def chosen_entry(
    default: Entry, own: Entry, spacing: float | None, patch: int | None, source: Path | str
) -> Entry:
    """The default with the user's fields over it, and over these the options of the command line.

    Where the user does not say otherwise, it is mirrored from left to right if no label has a side.

    Raises
    ------
    InputError
        A field is not as the schema says, or no network can be trained to it.
    """
    entry = merge(default, own)
    if "labels" in own.get("outputs", {}):
        entry["outputs"]["labels"] = own["outputs"]["labels"]
    if spacing is not None:
        entry["grid"]["spacing"] = [spacing] * 3
    if patch is not None:
        entry["grid"]["patch"] = [patch] * 3
    if "mirror" not in own.get("grid", {}):
        orientation = str(entry["grid"]["orientation"])
        entry["grid"]["mirror"] = [] if sided_labels(entry) else left_right_axes(orientation)
    unknown = [size for size in entry["grid"]["patch"] if int(size) % _STEP]
    if unknown:
        problem = f"a patch of {unknown[0]} voxels cannot be trained"
        raise InputError(source, problem, f"take a multiple of {_STEP}, such as 64 or 112")
    return entry


def sided_labels(entry: Mapping[str, Any]) -> list[str]:
    """Labels of an entry whose names say a side."""
    return [str(label) for label in entry["outputs"]["labels"].values() if names_side(str(label))]


def spec_of(entry: Mapping[str, Any], name: str, source: Path | str) -> NetworkSpec:
    """Specification of a network that is to be trained.

    Raises
    ------
    InputError
        A field is not as the schema says, or the parts contradict each other or the images to train on.
    """
    terms = {"framework": "onnx", "source": {"folder": "."}, "licence": "-", "citation": "-", "not_for": "-"}
    labels = {str(value): label for value, label in entry["outputs"].get("labels", {}).items()}
    whole = {**terms, **entry, "outputs": {**entry["outputs"], "labels": labels}}
    check_fields(whole, source, name)
    check_network({**whole, "name": name}, source)
    spec = parse_spec({**whole, "name": name, "members": [MODEL]})
    wrong = ""
    if spec.task != "segmentation" or spec.activation == "none":
        wrong = "a network that gives no labels by softmax or sigmoid"
    elif spec.grid.kind != "spacing" or not spec.grid.brain_only:
        wrong = f"a grid of the kind {spec.grid.kind}" if spec.grid.brain_only else "brain_only: false"
    elif any(item.rule not in ("zscore", "percentile") or item.region != "brain" for item in spec.inputs):
        wrong = "inputs that are not scaled by zscore or percentile in the brain"
    if wrong:
        problem = f"{name} is to have {wrong}, and the images to train on are of the brain alone"
        raise InputError(
            source, problem, "take a grid of the kind spacing, brain_only, and rules of the brain"
        )
    if (sided := sided_labels(entry)) and set(spec.grid.mirror) & set(left_right_axes(spec.grid.orientation)):
        problem = f"{name} is to be mirrored from left to right, and its label {sided[0]} has a side"
        raise InputError(source, problem, "leave that axis out of grid.mirror")
    return spec


def synthetic_channels(
    spec: NetworkSpec, inputs: Sequence[Mapping[str, Any]], source: Path | str
) -> tuple[int, ...]:
    """Channels of the synthetic images that are the network's inputs.

    Raises
    ------
    InputError
        Synthetic images cannot be what the entry says.
    """
    channels = [channel for channel in channels_of(inputs) if channel is not None]
    wrong = ""
    if len(channels) < len(inputs):
        wrong = "other contrasts than FLAIR, T1w, T1w with contrast agent and T2w"
    elif any(item.rule != "zscore" for item in spec.inputs):
        wrong = "another rule than zscore"
    elif spec.activation != "sigmoid" or not 1 <= len(spec.labels) <= 2:
        wrong = "other outputs than one or two labels by sigmoid: lesion, and what of it enhances"
    elif len(set(spec.grid.spacing)) > 1 or spec.grid.spacing[0] < 1 or spec.grid.orientation != "RAS":
        wrong = "another grid than one of RAS, with voxels of one size, of 1 mm or more"
    if wrong:
        raise InputError(source, f"synthetic images cannot train {wrong}", "mend the entry, or --spacing")
    return tuple(channels)
