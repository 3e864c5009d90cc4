"""Result folders of nnU-Net v2 (Isensee et al., Nat Methods 18 (2021) 203-211): one member a fold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voxelome.errors import InputError, blame, listed
from voxelome.imageio import load_json
from voxelome.segmentation.importers.contrasts import shows_brain_alone
from voxelome.segmentation.importers.export import Form, write_member
from voxelome.segmentation.importers.nnunet_plans import (
    Plan,
    build_network,
    read_inputs,
    read_outputs,
    read_plan,
)
from voxelome.segmentation.importers.onnx_graph import Layout
from voxelome.segmentation.importers.torch_files import load_checkpoint, load_weights
from voxelome.segmentation.spec import parse_spec

CHECKPOINT = "checkpoint_final.pth"
# Share of a window that its neighbour covers, in nnU-Net's own prediction.
OVERLAP = 0.5


def convert(source: Path, entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Inputs, grid, outputs and members of a result folder; its folds are written as ONNX into `folder`.

    The networks take images with the axes as the files store them. nnU-Net averages the outputs of folds
    and mirrored passes before the activation, the engine here the probabilities after it.

    Parameters
    ----------
    source : path
        Folder with ``dataset.json``, ``plans.json`` and ``fold_*/checkpoint_final.pth``, or a folder that
        holds this one.
    entry : mapping
        Registry entry. Its ``grid: orientation`` says how the training images were stored, unless nnU-Net
        was told to reorient them; its ``inputs`` replace those found; its ``members`` are folds, such as
        ``fold_0``, where it is not all of them.
    folder : path

    Raises
    ------
    InputError
        A file is missing, damaged or contradicts another; a channel, a normalisation or a layer is not
        known; ONNX Runtime gives something else than torch.
    """
    root = _root(source)
    # Read before the large files are.
    for name in ("dataset.json", "plans.json"):
        load_json(root / name)
    folds = _folds(root, entry)
    first = load_checkpoint(folds[0] / CHECKPOINT)
    plan = read_plan(root / "plans.json", _configuration(folds[0] / CHECKPOINT, first))
    found, gains = _card(root, plan, first, entry)
    found["members"] = [f"{fold.name}.onnx" for fold in folds]
    with blame(root):
        spec = parse_spec({"task": "segmentation", **found, "name": str(entry.get("name", root.name))})
    networks = []
    for fold in folds:
        networks.append(build_network(root / "plans.json", plan.architecture, spec.channels, spec.outputs))
        load_weights(networks[-1], _weights(fold / CHECKPOINT), fold / CHECKPOINT)
    scaled = any(pair != (1.0, 0.0) for pair in gains)
    scale, offset = zip(*gains, strict=True) if scaled else ((), ())
    layout = Layout(plan.axes, scale, offset)
    # All of them have been read by now: writing takes minutes.
    for fold, network, member in zip(folds, networks, found["members"], strict=True):
        write_member(network, folder / member, Form.of(spec), fold / CHECKPOINT, layout)
    return found


def _root(source: Path) -> Path:
    """Folder that holds dataset.json and plans.json."""
    if (source / "plans.json").is_file():
        return source
    held = sorted(path.parent for path in source.rglob("plans.json"))
    if len(held) != 1:
        problem = f"holds {len(held)} folders with plans.json" if held else "has no plans.json"
        raise InputError(
            source, problem, "give one result folder, such as nnUNetTrainer__nnUNetPlans__3d_fullres"
        )
    return held[0]


def _folds(root: Path, entry: Mapping[str, Any]) -> list[Path]:
    """Folders of the folds: those that the entry names as members, or all."""
    held = sorted(path.name for path in root.glob("fold_*") if path.is_dir())
    if not held:
        raise InputError(root, "has no folder fold_*", "give the result folder of a trained nnU-Net")
    names = entry.get("members", held)
    if absent := [name for name in names if name not in held]:
        problem = f"has no {listed(absent)}, which the entry names under members"
        raise InputError(root, problem, f"its folds are {listed(held)}")
    return [root / name for name in names]


def _configuration(path: Path, checkpoint: Mapping[str, Any]) -> str:
    """Name of the configuration that was trained."""
    settings = checkpoint.get("init_args")
    if not isinstance(settings, Mapping) or "configuration" not in settings:
        raise InputError(path, "does not say which configuration it is of", "give a checkpoint of nnU-Net v2")
    return str(settings["configuration"])


def _weights(path: Path) -> Mapping[str, Any]:
    """Weights of the network in a checkpoint."""
    weights = load_checkpoint(path).get("network_weights")
    if not isinstance(weights, Mapping):
        raise InputError(path, "has no network_weights", "give a checkpoint of nnU-Net v2")
    return weights


def _card(
    root: Path, plan: Plan, checkpoint: Mapping[str, Any], entry: Mapping[str, Any]
) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """Inputs, grid and outputs, and of each channel the gain and offset inside the network."""
    gains: list[tuple[float, float]] = []
    inputs = entry.get("inputs")
    if not inputs:
        inputs, gains = read_inputs(root, plan)
    orientation = entry.get("grid", {}).get("orientation", plan.orientation)
    if orientation is None:
        problem = "does not say how the training images are oriented (nnU-Net took them as they were stored)"
        raise InputError(
            root / "plans.json", problem, "give grid: orientation in the network's entry, such as LPS"
        )
    mirror = checkpoint.get("inference_allowed_mirroring_axes") or ()
    grid = {
        "kind": "spacing",
        "spacing": plan.spacing,
        "patch": plan.patch,
        "overlap": OVERLAP,
        "mirror": sorted(plan.axes[int(axis)] for axis in mirror),
        "brain_only": shows_brain_alone(inputs),
        **entry.get("grid", {}),
        "orientation": orientation,
    }
    outputs = {**read_outputs(root / "dataset.json"), **entry.get("outputs", {})}
    return {"inputs": list(inputs), "grid": grid, "outputs": outputs}, gains
