"""The two networks of whole cases that show the path: haemorrhage on head CT, and a planted age from T1w.

Both have seen simulated heads only. They are no medical devices, and say nothing about people.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxelome.imageio import Array, FloatArray, save_json
from voxelome.segmentation.prepare import prepare
from voxelome.segmentation.spec import parse_spec
from voxelome.training import age_phantom, ct_phantom
from voxelome.training.case_networks import (
    attention_loss,
    slice_attention_net,
    small_volume_net,
    train_case_network,
)
from voxelome.training.export import export_onnx

BLEED: dict[str, Any] = {
    "name": "hctbleed",
    "task": "classification",
    "inputs": [
        {
            "contrast": "ct",
            "rule": "window",
            "region": "image",
            "windows": [[40.0, 80.0], [80.0, 200.0], [600.0, 2800.0]],
        }
    ],
    # Slices first: the network sees them one by one.
    "grid": {
        "kind": "cube",
        "orientation": "SAR",
        "patch": [32, 64, 64],
        "mirror": [2],
        "brain_only": False,
    },
    "outputs": {"activation": "softmax", "labels": {0: "none", 1: "haemorrhage"}},
}
AGE: dict[str, Any] = {
    "name": "t1age",
    "task": "regression",
    "inputs": [{"contrast": "T1w", "rule": "zscore", "region": "brain", "clip": [-4.0, 4.0]}],
    "grid": {
        "kind": "cube",
        "orientation": "RAS",
        "patch": [48, 48, 48],
        "mirror": [0],
        "margin": 4.0,
    },
    "outputs": {"activation": "none", "outcome": "age", "unit": "years"},
}
_BATCH = 8
Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Bank:
    """Simulated cases, ready for the network.

    Attributes
    ----------
    stacks : ndarray of float16, shape (N, C, X, Y, Z)
    outcomes : ndarray of float32, shape (N,)
        1 for a haemorrhage, else 0; or years.
    slices : ndarray of float32, shape (N, X)
        Whether each slice holds blood; empty for ages.
    facts : list of dict
        What is known of each.
    """

    stacks: Array
    outcomes: FloatArray
    slices: FloatArray
    facts: list[dict[str, Any]]


def bleed_bank(count: int, seed: int, scanner: ct_phantom.Scanner | None = None) -> Bank:
    """Head CT of new people, every second one with a haemorrhage; the same seed gives the same."""
    spec = parse_spec(BLEED)
    stacks, marks, facts = [], [], []
    for index in range(count):
        rng = np.random.default_rng([seed, 1, index])
        head = ct_phantom.simulate_head_ct(rng, bleeding=bool(index % 2), scanner=scanner)
        stacks.append(prepare([head.image], head.affine, None, spec).stack.astype(np.float16))
        voxel = abs(float(np.linalg.det(head.affine))) / 1000
        per_slice = head.blood.sum(axis=(0, 1)) * voxel * head.blood.shape[2] / spec.grid.patch[0]
        there = np.linspace(0, len(per_slice) - 1, spec.grid.patch[0])
        marks.append(np.interp(there, np.arange(len(per_slice)), per_slice) > 0.15)
        facts.append({"kind": head.kind, "millilitres": round(head.millilitres, 2)})
    outcomes = np.array([float(bool(fact["kind"])) for fact in facts], dtype=np.float32)
    return Bank(np.stack(stacks), outcomes, np.array(marks, dtype=np.float32), facts)


def age_bank(count: int, seed: int, scanner: age_phantom.Scanner | None = None) -> Bank:
    """T1w brains of new people of all ages; the same seed gives the same."""
    spec = parse_spec(AGE)
    stacks, ages = [], []
    for index in range(count):
        rng = np.random.default_rng([seed, 2, index])
        brain = age_phantom.simulate_brain(rng, scanner=scanner)
        stacks.append(prepare([brain.image], brain.affine, brain.brain, spec).stack.astype(np.float16))
        ages.append(brain.age)
    return Bank(np.stack(stacks), np.array(ages, dtype=np.float32), np.zeros((count, 0), np.float32), [])


def train_bleed(
    out: Path,
    seed: int = 0,
    steps: int = 900,
    *,
    cases: int = 700,
    device: str = "cpu",
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Train the network for haemorrhage; write model.onnx and training.json into `out`; return the latter.

    Parameters
    ----------
    out : path
    seed, steps, cases : int
        Of everything random; batches of 8; simulated heads to train on.
    device : str
        ``cpu`` or ``cuda``.
    tell : callable, optional
        Called ten times with the state of the training.
    """
    import torch

    bank, unseen = bleed_bank(cases, seed), bleed_bank(200, seed + 1, ct_phantom.UNSEEN)
    familiar = bleed_bank(100, seed + 2)

    def make_batch(step: int) -> tuple[FloatArray, ...]:
        rng = np.random.default_rng([seed, 3, step])
        chosen = rng.choice(len(bank.outcomes), _BATCH, replace=False)
        stacks, marks = _disturbed(rng, bank.stacks[chosen], axis=4), bank.slices[chosen]
        return stacks, bank.outcomes[chosen].astype(np.int64), marks

    def judge(network: Any, cases: Bank) -> dict[str, float]:
        logits = _forward(network, cases.stacks, device)[0]
        return classified(logits[:, 1] - logits[:, 0], cases)

    torch.manual_seed(seed)
    network = slice_attention_net(parse_spec(BLEED).channels, 2)
    trained, seconds = _trained(
        network, make_batch, attention_loss, lambda net: judge(net, familiar), steps, device, tell
    )
    export_onnx(trained, bank.stacks.shape[1:], out / "model.onnx", ("logits", "attention"))
    measured = {"familiar": judge(trained, familiar), "unseen": judge(trained, unseen)}
    return _told(out, seed, steps, cases, seconds, measured)


def train_age(
    out: Path,
    seed: int = 0,
    steps: int = 1200,
    *,
    cases: int = 1000,
    device: str = "cpu",
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Train the network for the planted age, as :func:`train_bleed` does the other."""
    import torch
    from torch.nn import functional

    bank, unseen = age_bank(cases, seed), age_bank(200, seed + 1, age_phantom.UNSEEN)
    familiar = age_bank(100, seed + 2)

    def make_batch(step: int) -> tuple[FloatArray, ...]:
        rng = np.random.default_rng([seed, 4, step])
        chosen = rng.choice(len(bank.outcomes), _BATCH, replace=False)
        return _disturbed(rng, bank.stacks[chosen], axis=2), bank.outcomes[chosen]

    def loss(network: Any, stacks: Any, ages: Any) -> Any:
        return functional.smooth_l1_loss(network(stacks)[:, 0] / 20, ages / 20, beta=0.2)

    def judge(network: Any, cases: Bank) -> dict[str, float]:
        return regressed(_forward(network, cases.stacks, device)[0][:, 0], cases)

    torch.manual_seed(seed)
    network = small_volume_net(1, 1, scale=20.0, offset=55.0)
    trained, seconds = _trained(
        network, make_batch, loss, lambda net: judge(net, familiar), steps, device, tell
    )
    export_onnx(trained, bank.stacks.shape[1:], out / "model.onnx", ("value",))
    measured = {"familiar": judge(trained, familiar), "unseen": judge(trained, unseen)}
    return _told(out, seed, steps, cases, seconds, measured)


def classified(scores: FloatArray, cases: Bank) -> dict[str, float]:
    """Area under the ROC curve, and sensitivity and specificity where the score is above 0."""
    there = cases.outcomes > 0.5
    pairs = scores[there][:, None] - scores[~there]
    return {
        "auc": round(float((pairs > 0).mean() + 0.5 * (pairs == 0).mean()), 4),
        "sensitivity": round(float((scores[there] > 0).mean()), 4),
        "specificity": round(float((scores[~there] <= 0).mean()), 4),
        "n": len(there),
    }


def regressed(values: FloatArray, cases: Bank) -> dict[str, float]:
    """Mean absolute error, mean error and correlation; and the error of always saying the mean."""
    error = values - cases.outcomes
    return {
        "mae": round(float(np.abs(error).mean()), 3),
        "bias": round(float(error.mean()), 3),
        "correlation": round(float(np.corrcoef(values, cases.outcomes)[0, 1]), 4),
        "mae_of_the_mean": round(float(np.abs(cases.outcomes - cases.outcomes.mean()).mean()), 3),
        "n": len(error),
    }


def _trained(
    network: Any,
    make_batch: Callable[[int], tuple[FloatArray, ...]],
    loss: Callable[..., Any],
    judge: Callable[[Any], dict[str, float]],
    steps: int,
    device: str,
    tell: Tell | None,
) -> tuple[Any, float]:
    """Trained network and the seconds that it took."""
    start = time.perf_counter()

    def validate(current: Any, step: int) -> None:
        if tell is not None:
            tell({"step": step, "seconds": round(time.perf_counter() - start), **judge(current)})

    trained = train_case_network(network, make_batch, loss, validate, steps, device)
    return trained, time.perf_counter() - start


def _disturbed(rng: np.random.Generator, stacks: Array, axis: int) -> FloatArray:
    """Copies of stacks, each perhaps mirrored along an axis, moved by whole voxels, and with noise."""
    found = []
    for stack in stacks.astype(np.float32):
        moved = np.flip(stack, axis - 1) if rng.uniform() < 0.5 else stack
        moved = np.roll(moved, rng.integers(-2, 3, 2), axis=(2, 3))
        noise = rng.standard_normal(stack.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.04))
        found.append(moved * np.float32(rng.uniform(0.95, 1.05)) + noise)
    return np.stack(found)


def _forward(network: Any, stacks: Array, device: str) -> list[Array]:
    """Outputs of a network, in the state to infer, for many stacks."""
    import torch

    network = network.to(device)
    parts = []
    with torch.no_grad():
        for first in range(0, len(stacks), _BATCH):
            batch = torch.from_numpy(stacks[first : first + _BATCH].astype(np.float32)).to(device)
            given = network(batch)
            parts.append([item.cpu().numpy() for item in (given if isinstance(given, tuple) else (given,))])
    return [np.concatenate(items) for items in zip(*parts, strict=True)]


def _told(
    out: Path, seed: int, steps: int, cases: int, seconds: float, measured: dict[str, Any]
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "seed": seed,
        "steps": steps,
        "cases": cases,
        "seconds": round(seconds),
        **measured,
    }
    save_json(out / "training.json", facts)
    return facts
