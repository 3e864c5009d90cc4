"""Brain structures by MeshNet on a real head and on simulated heads whose deep nuclei are known."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from _cases import CHRIS, SEED, SITES, Table
from _segmentation_pictures import colours, draw
from _segmentation_scores import dice
from _segmentation_steps import Found, as_prepared, case_files, models, run_network

from voxelome.imageio import load_volume, voxel_sizes
from voxelome.phantom.anatomy import NUCLEI
from voxelome.phantom.cohort import make_cohort

# Of the phantom's nuclei, those that the networks name too.
SHARED = ("caudate", "putamen", "pallidum")


def measure_structures(table: Table, options: argparse.Namespace) -> None:
    """Two networks beside each other, and overlap with known nuclei."""
    models_dir = models(options.work / "models", "meshnet18", "meshnet18large")
    table.head("structures: sub-chris, meshnet18", unit="ml; peer: meshnet18large")
    images, brain = case_files(CHRIS, {"T1w": "T1w"}, options.work / "structures" / "images")
    visit = as_prepared("sub-chris", images, brain, options.work / "structures")
    small, large = (run_network(visit, name, models_dir) for name in ("meshnet18", "meshnet18large"))
    names = _names(small, "meshnet18")
    voxel = float(np.prod(voxel_sizes(small.affine))) / 1000
    for value, name in names.items():
        one, other = small.labels == value, large.labels == value
        table.row(name, float(one.sum()) * voxel, float(other.sum()) * voxel, digits=2)
        table.row("    Dice of the two", dice(one, other))
    table.row("seconds in the network", small.network, large.network, digits=1)
    data = load_volume(images["T1w"]).data
    _draw(options, "sub-chris", data, small, names)
    _measure_known(table, options, models_dir)


def _measure_known(table: Table, options: argparse.Namespace, models_dir: Any) -> None:
    """Overlap with the ellipsoids that stand for nuclei in the simulated heads."""
    table.head(
        f"structures: nuclei of {options.heads} simulated heads of 2 mm", unit="Dice; peer: meshnet18large"
    )
    print(
        "(the phantom's nuclei are ellipsoids: less than 1 is reached by a perfect outline of the real ones)"
    )
    root = options.work / "cohort"
    make_cohort(root, participants=options.heads, sites=SITES, spacing=2, seed=SEED)
    overlaps: dict[str, list[tuple[float, ...]]] = {name: [] for name in SHARED}
    for number in range(1, options.heads + 1):
        label = f"sub-{number:02d}"
        truth = root / "derivatives" / "truth" / label / "anat"
        nuclei = load_volume(truth / f"{label}_desc-nuclei_dseg.nii.gz", dtype=None)
        image = root / label / "anat" / f"{label}_T1w.nii.gz"
        brain = truth / f"{label}_desc-brain_mask.nii.gz"
        visit = as_prepared(label, {"T1w": image}, brain, options.work / "structures" / label)
        found = [run_network(visit, name, models_dir) for name in ("meshnet18", "meshnet18large")]
        names = _names(found[0], "meshnet18")
        by_name = {name.lower(): value for value, name in names.items()}
        voxel = float(np.prod(voxel_sizes(nuclei.affine))) / 1000
        for name in SHARED:
            numbers = [place for place, item in enumerate(NUCLEI, start=1) if item.name.endswith(name)]
            known = np.isin(nuclei.data, numbers)
            masks = [one.labels == by_name[name] for one in found]
            volumes = [float(mask.sum()) * voxel for mask in (masks[0], known)]
            overlaps[name].append((*(dice(mask, known) for mask in masks), *volumes))
        _draw(options, label, load_volume(image).data, found[0], names)
    for name, rows in overlaps.items():
        ours, peer, volume, known_volume = np.median(rows, axis=0)
        table.row(f"{name}: median Dice", float(ours), float(peer))
        table.row(f"{name}: least Dice", *(float(column) for column in np.min(rows, axis=0)[:2]))
        table.row(f"{name}: ml (peer column: true)", float(volume), float(known_volume), digits=2)


def _names(found: Found, model: str) -> dict[int, str]:
    """Name by label value."""
    return {
        int(value): str(name) for value, name in found.record.find("labels", name=model)[0]["names"].items()
    }


def _draw(options: argparse.Namespace, label: str, data: Any, found: Found, names: dict[int, str]) -> None:
    masks = [
        (found.labels == value, colour) for value, colour in zip(names, colours(len(names)), strict=True)
    ]
    deep = [value for value, name in names.items() if name.lower() in (*SHARED, "thalamus")]
    draw(
        options.pictures,
        f"structures_{label}",
        data,
        found.affine,
        masks,
        on=np.isin(found.labels, deep),
    )
