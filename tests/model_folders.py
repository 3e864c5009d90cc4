"""Models as `models fetch` leaves them: networks of one layer, and the card that says what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from tests.numerics.small_networks import pointwise, save_convolution, save_graph
from voxelome.imageio import load_json, save_json

__all__ = ["above", "edit_card", "pointwise", "save_case_model", "save_model"]

# How steeply a network of `above` turns from one answer to the other.
STEEP = 10.0


def above(*levels: float) -> tuple[Any, list[float]]:
    """Weight and bias of a network whose label n is where its one input lies above the n-th level."""
    rows = [[STEEP * number] for number in range(len(levels) + 1)]
    bias, total = [0.0], 0.0
    for level in levels:
        total -= STEEP * level
        bias.append(total)
    return pointwise(*rows), bias


def save_model(models_dir: Path, name: str, weight: Any, bias: list[float], **changes: Any) -> dict[str, Any]:
    """Write a segmentation network of one convolution and its card; return the card."""
    checksum = save_convolution(models_dir / name / "model.onnx", weight, bias)
    return _save_card(models_dir, name, checksum, changes)


def save_case_model(
    models_dir: Path, name: str, patch: list[int], channels: int = 1, **changes: Any
) -> dict[str, Any]:
    """Write a network that gives the sum of its inputs' means, and minus that; return the card.

    A regression gets the sum alone.
    """
    outputs = 1 if changes["task"] == "regression" else 2
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["y"]),
    ]
    weight = numpy_helper.from_array(np.array([[1.0, -1.0][:outputs]] * channels, np.float32), "weight")
    path = models_dir / name / "model.onnx"
    checksum = save_graph(path, nodes, [weight], ("N", channels, *patch), ("N", outputs))
    grid = {"kind": "cube", "patch": patch, "brain_only": False, "spacing": [2.0, 2.0, 2.0]}
    return _save_card(models_dir, name, checksum, {"grid": grid, **changes})


def _save_card(models_dir: Path, name: str, checksum: str, changes: dict[str, Any]) -> dict[str, Any]:
    card = {
        "name": name,
        "title": f"The network {name}",
        "task": "segmentation",
        "inputs": [{"contrast": "T1w", "rule": "none"}],
        "grid": {"spacing": [2.0, 2.0, 2.0], "patch": [16, 16, 16], "brain_only": False, "overlap": 0.0},
        "outputs": {"labels": {"1": "bright"}},
        "members": ["model.onnx"],
        "sha256": {"model.onnx": checksum},
        "licence": "MIT",
        "citation": "A paper",
        "intended_use": "research",
        "not_for": "diagnosis",
        **changes,
    }
    save_json(models_dir / name / "card.json", card)
    return card


def edit_card(models_dir: Path, name: str, **changes: Any) -> None:
    """Change what a card says."""
    path = models_dir / name / "card.json"
    save_json(path, {**load_json(path), **changes})
