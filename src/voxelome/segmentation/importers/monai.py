"""Bundles of MONAI (https://docs.monai.io/en/stable/mb_specification.html): one member a bundle."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxelome.claims import check_archive_claim
from voxelome.errors import InputError, blame, listed
from voxelome.segmentation.importers import monai_bundle
from voxelome.segmentation.importers.contrasts import named_inputs, shows_brain_alone
from voxelome.segmentation.importers.export import Form, write_member
from voxelome.segmentation.importers.onnx_graph import Layout
from voxelome.segmentation.importers.torch_files import FETCH_AGAIN, load_checkpoint, load_weights
from voxelome.segmentation.importers.torchscript import write_script
from voxelome.segmentation.spec import parse_spec

MEMBER = "model.onnx"
# Under which names checkpoints hold the weights.
WEIGHTS = ("model", "state_dict", "network", "net")


def convert(source: Path, entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Inputs, grid, outputs and the member of a bundle; its network is written as ONNX into `folder`.

    ``models/model.ts`` is taken where there is one, else ``models/model.pt`` with the network that
    ``network_def`` in ``configs/inference.json`` describes. No expression of the configuration is evaluated.

    Parameters
    ----------
    source : path
        Folder of the bundle, or its zip archive.
    entry : mapping
        Registry entry. It must give what the bundle does not say in plain values (often ``grid:
        orientation`` and ``grid: spacing``); its labels are matched with the names of the channels, so
        that of channels that overlap their order is that in which they are painted.
    folder : path

    Raises
    ------
    InputError
        A file is missing, damaged or contradicts another; something that must be known is neither in the
        bundle nor in the entry; ONNX Runtime gives something else than torch.
    """
    if source.is_dir():
        return _convert(_root(source), entry, folder)
    with tempfile.TemporaryDirectory(dir=folder) as unpacked:
        try:
            with zipfile.ZipFile(source) as archive:
                check_archive_claim(source, archive, shutil.disk_usage(unpacked).free)
                archive.extractall(unpacked)
        except (OSError, EOFError, zipfile.BadZipFile, ValueError) as error:
            raise InputError(
                source, f"is no folder and no whole zip archive ({error})", FETCH_AGAIN
            ) from error
        return _convert(_root(Path(unpacked)), entry, folder)


def _root(source: Path) -> Path:
    """Folder of the bundle."""
    held = sorted(
        path.parent.parent for path in source.rglob("metadata.json") if path.parent.name == "configs"
    )
    if not held:
        raise InputError(source, "has no configs/metadata.json", "give a bundle of MONAI")
    return min(held, key=lambda path: len(path.parts))


def _convert(root: Path, entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same of an unpacked bundle."""
    metadata, configuration = monai_bundle.read_configuration(root)
    found, layout = _card(root, metadata, configuration, entry)
    found["members"] = [MEMBER]
    with blame(root):
        spec = parse_spec(
            {"task": "segmentation", **entry, **found, "name": str(entry.get("name", root.name))}
        )
    form = Form.of(spec)
    script, weights = root / "models" / "model.ts", root / "models" / "model.pt"
    if script.is_file():
        write_script(script, folder / MEMBER, form, layout)
        return found
    if not weights.is_file():
        raise InputError(root, "has neither models/model.ts nor models/model.pt", "fetch the whole bundle")
    network = monai_bundle.build_network(root / "configs" / "inference.json", configuration)
    content = load_checkpoint(weights)
    held = [content[name] for name in WEIGHTS if isinstance(content.get(name), Mapping)]
    load_weights(network, held[0] if held else content, weights)
    write_member(network, folder / MEMBER, form, weights, layout)
    return found


def _card(
    root: Path, metadata: Mapping[str, Any], configuration: Mapping[str, Any], entry: Mapping[str, Any]
) -> tuple[dict[str, Any], Layout]:
    """Inputs, grid and outputs, and what they ask to be put around the network."""
    path = root / "configs" / "metadata.json"
    described = monai_bundle.data_format(path, metadata, "inputs")
    inputs, gain = entry.get("inputs"), (1.0, 0.0)
    if not inputs:
        names = monai_bundle.channel_names(path, described, "inputs")
        rule, gain = monai_bundle.scaling(root / "configs" / "inference.json", configuration, len(names))
        inputs = named_inputs(path, names, [rule] * len(names))
    outputs, order = _outputs(path, metadata, configuration, entry)
    scaled = gain != (1.0, 0.0)
    scale, offset = ((gain[0],) * len(inputs), (gain[1],) * len(inputs)) if scaled else ((), ())
    layout = Layout(scale=scale, offset=offset, outputs=order)
    return {
        "inputs": list(inputs),
        "grid": _grid(root, configuration, described, inputs, entry),
        "outputs": outputs,
    }, layout


def _grid(
    root: Path,
    configuration: Mapping[str, Any],
    described: Mapping[str, Any],
    inputs: Sequence[Mapping[str, Any]],
    entry: Mapping[str, Any],
) -> dict[str, Any]:
    """Grid, complete or refused."""
    grid = {
        "kind": "spacing",
        "brain_only": shows_brain_alone(inputs),
        **monai_bundle.grid_fields(configuration, described),
        **entry.get("grid", {}),
    }
    needed = {"spacing": ("orientation", "spacing", "patch"), "cube": ("orientation", "patch")}
    missing = [key for key in needed.get(grid["kind"], ()) if key not in grid]
    if missing:
        problem = f"does not say of the images in plain values: {listed(missing)}"
        raise InputError(root / "configs" / "inference.json", problem, "give them in the entry, under grid")
    return grid


def _outputs(
    path: Path, metadata: Mapping[str, Any], configuration: Mapping[str, Any], entry: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Outputs, and the channel of the network that each of theirs is (empty: in the same order)."""
    given = dict(entry.get("outputs", {}))
    if entry.get("task", "segmentation") != "segmentation":
        if not given:
            raise InputError(path, "its outputs have no names that are known", "give outputs in the entry")
        return given, ()
    names = monai_bundle.channel_names(path, monai_bundle.data_format(path, metadata, "outputs"), "outputs")
    kind = given.get("activation") or monai_bundle.activation(configuration, names)
    if kind is None:
        problem = "does not say whether its outputs exclude each other"
        raise InputError(path, problem, "give outputs: activation in the entry (softmax or sigmoid)")
    background = int(kind != "sigmoid")
    if "labels" not in given:
        if not background:
            problem = f"its outputs overlap ({listed(names)}), and nothing says which is painted over which"
            raise InputError(path, problem, "give outputs: labels in the entry, the last painted on top")
        return {
            **given,
            "activation": kind,
            "labels": {str(value): name for value, name in enumerate(names) if value},
        }, ()
    known = {name.casefold(): place for place, name in enumerate(names) if place >= background}
    values = [*given["labels"]] if kind == "sigmoid" else sorted(given["labels"], key=int)
    wanted = [str(given["labels"][value]).casefold() for value in values]
    if sorted(wanted) != sorted(known):
        named = listed(given["labels"].values())
        problem = f"its channels are {listed(names)}, and the entry's labels {named}"
        raise InputError(path, problem, "give the labels the names of the channels")
    order = (*range(background), *(known[name] for name in wanted))
    return {**given, "activation": kind}, order if list(order) != sorted(order) else ()
