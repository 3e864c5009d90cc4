"""The project's own lesion network on real cases that it has never seen, and on simulated ones."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _cases import CHRIS, DATA, DU7294, REAL, SEED, SITES, Section, Table
from _segmentation_pictures import RED, YELLOW, draw
from _segmentation_scores import Score, dice, score, together
from _segmentation_steps import Network, models, prepare, run_network
from _segmentation_visits import measure_visits

from voxelome.imageio import load_volume
from voxelome.interfaces.network_inputs import NetworkInputs, is_input
from voxelome.orientation import to_canonical
from voxelome.phantom.cohort import make_cohort
from voxelome.segmentation.cards import load_card
from voxelome.segmentation.spec import parse_spec

ROOT = Path(__file__).resolve().parents[1]
EXTRA = DATA / "extra" / "tcga_du_7294"
ALGORITHMS = ("hnfnetv1-20", "isen-20", "sanet0-20", "scan-20", "yixinmpl-20")
CONTRASTS = ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR")
# Sets of contrasts that studies have.
SETS = {
    "all four": CONTRASTS,
    "FLAIR, T1w": ("FLAIR", "T1w"),
    "FLAIR": ("FLAIR",),
}
# Label of what enhances, of the network and of the phantom.
ENHANCING, RIM = 2, 3
DRAWN = 6
REAL_BAR, REAL_GOAL, SIMULATED_BAR = 0.6, 0.85, 0.75


def glioma_labels(name: str) -> Any:
    """A given segmentation of sub-du7294 in RAS+ order, labels 1, 2 and 4."""
    volume = load_volume(EXTRA / f"seg_{name}.nii.gz", dtype=None)
    return np.rint(to_canonical(volume.data, volume.affine)[0]).astype(np.int16)


def measure_glioma(table: Table, options: argparse.Namespace) -> None:
    """sub-du7294 by preprocess, register and the network; then with fewer contrasts."""
    table.head("lesion: sub-du7294, whole tumour", unit="Dice; peer: the fused result")
    models_dir = models(options.work / "models", "deepbet", "synlesion")
    images = {label: REAL / f"{DU7294.format(contrast=label)}.nii.gz" for label in CONTRASTS}
    visit = prepare("sub-du7294", images, options.work / "glioma", models_dir)
    found = run_network(visit, "synlesion", models_dir)
    fused = glioma_labels("fusion_mav")
    whole, truth = found.labels > 0, fused > 0
    result = score(whole, truth, found.affine)
    bar = f">= {REAL_BAR} ({REAL_GOAL})"
    table.row("fused by majority", result.dice, bar=bar, reached=result.dice >= REAL_BAR)
    print(f"    {result}")
    for name in ALGORITHMS:
        other = glioma_labels(name) > 0
        table.row(f"algorithm {name}", dice(whole, other), dice(truth, other))
    # The fused result has no enhancing tumour; two of the algorithms see a little.
    table.row(
        "enhancing (ml)", *(float(mask.sum()) / 1000 for mask in (found.labels == ENHANCING, fused == 4))
    )
    print(f"    {found.network:.1f} s in the network, {found.seconds:.1f} s in the step, 2 threads")
    network = Network("synlesion", models_dir)
    inputs = visit.inputs(network.spec)
    masks = [(whole, RED), (truth, YELLOW)]
    draw(options.pictures, "glioma", inputs.volumes[0], found.affine, masks)
    enhancing = [(found.labels == ENHANCING, RED), (np.isin(fused, (1, 4)), YELLOW)]
    draw(options.pictures, "glioma_enhancing_and_core", inputs.volumes[2], found.affine, enhancing)
    _with_fewer(table, options, network, inputs, truth)


def _with_fewer(
    table: Table, options: argparse.Namespace, network: Network, inputs: NetworkInputs, truth: Any
) -> None:
    """The same images as the step prepares them, some left out."""
    for name, kept in list(SETS.items())[1:]:
        chosen = [
            volume if any(is_input(label, item) for label in kept) else None
            for item, volume in zip(network.spec.inputs, inputs.volumes, strict=True)
        ]
        labels, _ = network(chosen, inputs.affine, inputs.brain)
        result = score(labels > 0, truth, inputs.affine)
        table.row(f"fused by majority; {name} only", result.dice)
        print(f"    {result}")
        image = next(volume for volume in chosen if volume is not None)
        draw(
            options.pictures,
            f"glioma_{'_'.join(kept)}",
            image,
            inputs.affine,
            [(labels > 0, RED), (truth, YELLOW)],
        )


def measure_healthy(table: Table, options: argparse.Namespace) -> None:
    """sub-chris has a T1w alone, which shows too little: the network leaves the visit out, and says why."""
    table.head("lesion: sub-chris, T1w only", unit="")
    models_dir = models(options.work / "models", "deepbet", "synlesion")
    images = {"T1w": REAL / f"{CHRIS}.nii.gz"}
    visit = prepare("sub-chris", images, options.work / "healthy", models_dir)
    found = run_network(visit, "synlesion", models_dir)
    reasons = [item["why"] for item in found.record.skipped if item["what"] == "synlesion"]
    left_out = found.labels is None and bool(reasons)
    table.row("left out, with a reason", float(left_out), bar="1", reached=left_out, digits=0)
    print(f"    {'; '.join(reasons)}")


def measure_phantom(table: Table, options: argparse.Namespace) -> None:
    """Tumours of another simulator, through the workflow's steps."""
    table.head(f"lesion: {options.heads} heads of the phantom, another simulator", unit="Dice")
    models_dir = models(options.work / "models", "deepbet", "synlesion")
    root = options.work / "cohort"
    make_cohort(root, participants=options.heads, sites=SITES, spacing=2, seed=SEED)
    spec = parse_spec(load_card(models_dir, "synlesion"))
    whole: list[Score] = []
    rims = []
    for number in range(1, options.heads + 1):
        label = f"sub-{number:02d}"
        folder = root / label / "anat"
        images = {name: folder / f"{label}_{name}.nii.gz" for name in CONTRASTS}
        visit = prepare(label, images, options.work / "phantom" / label, models_dir)
        found = run_network(visit, "synlesion", models_dir)
        mask = root / "derivatives" / "masks" / label / "anat" / f"{label}_desc-lesion_dseg.nii.gz"
        truth = load_volume(mask, dtype=None).data
        whole.append(score(found.labels > 0, truth > 0, found.affine))
        rims.append(dice(found.labels == ENHANCING, truth == RIM))
        table.row(f"{label}: whole lesion", whole[-1].dice)
        print(f"    {whole[-1]}")
        inputs = visit.inputs(spec)
        masks = [(found.labels > 0, RED), (truth > 0, YELLOW)]
        draw(options.pictures, f"phantom_{label}", inputs.volumes[0], found.affine, masks)
    middle = float(np.median([one.dice for one in whole]))
    table.row("whole lesion: median", middle, bar=f">= {SIMULATED_BAR}", reached=middle >= SIMULATED_BAR)
    table.row("enhancing rim: median", float(np.median(rims)))
    print(f"    {together(whole)}")


def measure_draws(table: Table, options: argparse.Namespace) -> None:
    """New cases of the simulator that it was trained with, of seeds never used, by set of contrasts."""
    python = options.torch_python
    if python is None:
        table.absent("draws, for want of an environment with torch: see --torch-python")
        return
    table.head(
        f"lesion: {options.draws} new draws of the training's simulator",
        unit="Dice, median of those with lesions",
    )
    models_dir = models(options.work / "models", "synlesion")
    folder = options.work / "draws"
    folder.mkdir(parents=True, exist_ok=True)
    program = [python, ROOT / "benchmarks" / "_segmentation_draws.py", folder, options.draws]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "2"}
    subprocess.run([str(word) for word in program], check=True, env=environment)
    network = Network("synlesion", models_dir)
    cases = [np.load(path) for path in sorted(folder.glob("*.npz"))[: options.draws]]
    for name, kept in SETS.items():
        used = [any(is_input(label, item) for label in kept) for item in network.spec.inputs]
        scores, empty = [], []
        for number, case in enumerate(cases):
            folder = options.pictures if number < DRAWN and all(used) else None
            result = _judge_draw(case, used, network, folder, f"draw_{number}")
            (scores if result.true_ml >= 0.1 else empty).append((str(case["kind"]), result))
        values = [result.dice for _, result in scores]
        middle = float(np.median(values))
        table.row(name, middle, bar=f">= {SIMULATED_BAR}", reached=middle >= SIMULATED_BAR)
        print(f"    {len(values)} cases; {together([result for _, result in scores])}{_empty(empty)}")
        for kind in sorted({kind for kind, _ in scores}):
            of_kind = [result.dice for other, result in scores if other == kind]
            table.row(f"{name}: {kind} ({len(of_kind)})", float(np.median(of_kind)))


def _judge_draw(case: Any, used: Sequence[bool], network: Network, folder: Path | None, name: str) -> Score:
    """Score of the whole lesion in one case, seen in the channels `used`."""
    image, truth = case["image"].astype(np.float32), case["regions"][0]
    volumes = [channel if use else None for channel, use in zip(image, used, strict=True)]
    labels, _ = network(volumes, np.eye(4), (image != 0).any(axis=0))
    if folder is not None:
        draw(folder, name, image[0] - image[0].min(), np.eye(4), [(labels > 0, RED), (truth, YELLOW)])
    return score(labels > 0, truth, np.eye(4))


def _empty(cases: Sequence[tuple[str, Score]]) -> str:
    """What was found where there is nothing, in words."""
    if not cases:
        return ""
    return (
        f"; {len(cases)} without lesions: {sum(one.found_ml for _, one in cases) / len(cases):.2f} ml a case"
    )


SECTIONS: dict[str, Section] = {
    "glioma": measure_glioma,
    "visits": measure_visits,
    "healthy": measure_healthy,
    "phantom": measure_phantom,
    "draws": measure_draws,
}
