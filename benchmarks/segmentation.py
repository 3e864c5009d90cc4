"""Networks measured: brain masks beside deepbet's own command, the engine, lesions, structures, fusion.

Every network is fetched into a folder of this run, from the installed registry. Steps and peers run in
processes of their own, whose times are from the start of Python to its end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _segmentation_lesions as lesions
import numpy as np
from _cases import CHRIS, DATA, DU7294, MS01, REAL, SEED, SITES, Section, Table, run_sections
from _segmentation_scores import dice
from _segmentation_steps import Found, Visit, as_prepared, case_files, models, run, run_network
from _segmentation_structures import measure_structures

from voxelome.imageio import load_volume
from voxelome.orientation import to_canonical
from voxelome.phantom.cohort import make_cohort
from voxelome.segmentation.fusion import majority, simple, staple

ROOT = Path(__file__).resolve().parents[1]
TRAINING = ROOT / ".venv-train" / "bin" / "python"
FOUR = {"T1w": "T1w", "ce-gadolinium_T1w": "ce-gadolinium_T1w", "T2w": "T2w", "FLAIR": "FLAIR"}
OVERHEAD, MEMORY, DIFFERING = 0.3, 4096, 1e-4
# Regions of the BraTS challenge: labels of each.
REGIONS = {"whole tumour": (1, 2, 4), "core": (1, 4), "enhancing": (4,)}


def measure_brain(table: Table, options: argparse.Namespace) -> None:
    """One image a process, both with all threads; both leave the mask and the stripped image."""
    table.head(
        f"brain: from file to files, {options.threads} threads, median of {options.repeats}",
        unit="peer: deepbet-cli",
    )
    python = options.deepbet_python or _installed_deepbet()
    if python is None:
        print("(no environment with torch and deepbet: nothing to compare with; see --deepbet-python)")
    folder = options.work / "brain"
    folder.mkdir(parents=True, exist_ok=True)
    model = models(options.work / "models", "deepbet") / "deepbet"
    program = [sys.executable, ROOT / "benchmarks" / "_segmentation_brain.py", model]
    for name, image in _heads(options):
        outputs = [
            folder / f"{name}_{who}_{what}.nii.gz" for who in ("ours", "peer") for what in ("brain", "mask")
        ]
        costs: list[list[Any]] = [[], []]
        for _ in range(options.repeats):
            costs[0].append(run([*program, image, *outputs[:2], options.threads], options.threads))
            if python is not None:
                command = [
                    python,
                    "-m",
                    "deepbet.ui.cli",
                    "-g",
                    "-i",
                    image,
                    "-o",
                    outputs[2],
                    "-m",
                    outputs[3],
                ]
                costs[1].append(run(command, options.threads))
        seconds, cpu, peak = (
            [float(np.median([getattr(cost, what) for cost in one])) if one else None for one in costs]
            for what in ("seconds", "cpu", "memory")
        )
        reached = None if seconds[1] is None else seconds[0] <= seconds[1] / 2
        table.row(f"{name}: seconds", *seconds, bar="peer / 2", reached=reached, digits=2)
        table.row(f"{name}: seconds of all cores", *cpu, digits=2)
        table.row(f"{name}: peak memory (MB)", *peak, digits=0)
        if python is not None:
            masks = [load_volume(outputs[place], dtype=None) for place in (1, 3)]
            ours, theirs = (to_canonical(mask.data > 0, mask.affine)[0] for mask in masks)
            overlap = dice(ours, theirs)
            table.row(f"{name}: Dice", overlap, bar=">= 0.999", reached=overlap >= 0.999, digits=5)


def _installed_deepbet() -> Path | None:
    from peers import deepbet_python

    return deepbet_python()


def _heads(options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Name and file of each image of a whole head."""
    yield "sub-chris T1w", REAL / f"{CHRIS}.nii.gz"
    for visit in (1, 2):
        for contrast in ("T1w", "FLAIR"):
            path = REAL / f"{MS01.format(visit=visit, contrast=contrast)}.nii.gz"
            yield f"sub-ms01 ses-0{visit} {contrast}", path
    folder = options.work / "cohort"
    make_cohort(folder, participants=options.brains, sites=SITES, spacing=2, seed=SEED)
    for number in range(1, options.brains + 1):
        label = f"sub-{number:02d}"
        yield f"simulated {label} T1w", folder / label / "anat" / f"{label}_T1w.nii.gz"


def _engine_case(options: argparse.Namespace, what: str) -> tuple[Visit, str, Path]:
    """Visit ready for a network, the network, and the models folder."""
    model = "meshnet18" if what == "chris" else "synlesion"
    models_dir = models(options.work / "models", model)
    folder = options.work / f"engine-{what}"
    name, contrasts = (CHRIS, {"T1w": "T1w"}) if what == "chris" else (DU7294, FOUR)
    images, brain = case_files(name, contrasts, folder / "images", edge=256 if what == "256" else 0)
    return as_prepared(f"sub-{what}", images, brain, folder), model, models_dir


_RUNS: dict[tuple[str, int, int], Found] = {}


def _engine_run(options: argparse.Namespace, what: str, threads: int, number: int = 0) -> Found:
    """The network step on a case; a run that another section has made is not made again."""
    key = what, threads, number
    if key not in _RUNS:
        visit, model, models_dir = _engine_case(options, what)
        _RUNS[key] = run_network(visit, model, models_dir, threads, f"-{threads}-{number}")
    return _RUNS[key]


def measure_engine(table: Table, options: argparse.Namespace) -> None:
    """The whole network step, files to files, against the time inside the network's own forward passes."""
    table.head("engine: the network step from files to files", unit="seconds, MB")
    print("(overhead: reading, resampling, windows, back to the images' grid, lesion table and writing)")
    for what, shown in (
        ("240x240x155", "du7294"),
        ("256x256x256 of 0.8 mm", "256"),
        ("256^3 meshnet18", "chris"),
    ):
        for threads in (1, 2):
            found = _engine_run(options, shown, threads)
            share = (found.seconds - found.network) / found.network
            name = f"{what}, {threads} thread{'s' * (threads > 1)}"
            table.row(f"{name}: network", found.network, digits=1)
            table.row(f"{name}: with resampling, windows", found.inference, digits=1)
            table.row(f"{name}: with start", found.cost.seconds, digits=1)
            barred = shown == "du7294"
            bar = f"<= {OVERHEAD}" if barred else ""
            table.row(f"{name}: overhead", share, bar=bar, reached=share <= OVERHEAD if barred else None)
            fits = found.cost.memory <= MEMORY
            table.row(f"{name}: peak", found.cost.memory, bar=f"<= {MEMORY}", reached=fits, digits=0)


def measure_determinism(table: Table, options: argparse.Namespace) -> None:
    """Voxels whose labels differ between two runs, and between 1 and 2 threads."""
    table.head(
        "determinism: the network step twice, and with 1 and 2 threads", unit="voxels, share of the image"
    )
    for what, model in (("du7294", "synlesion"), ("chris", "meshnet18")):
        first = _engine_run(options, what, 2).labels
        for name, other in (
            ("again", _engine_run(options, what, 2, 1)),
            ("1 and 2 threads", _engine_run(options, what, 1)),
        ):
            differing = int((first != other.labels).sum())
            share = differing / first.size
            table.row(f"{model}, {name}: voxels", differing, digits=0)
            table.row(f"{model}, {name}: share", share, bar="<= 0.0001", reached=share <= DIFFERING, digits=6)


def measure_fusion(table: Table, _: argparse.Namespace) -> None:
    """Five algorithms' results on sub-du7294, fused here and by the BraTS Toolkit."""
    table.head("fusion: sub-du7294, five algorithms", unit="Dice; peer: the given fusion by SIMPLE")
    given = {
        name: lesions.glioma_labels(name) for name in (*lesions.ALGORITHMS, "fusion_mav", "fusion_simple")
    }
    votes = [given[name] for name in lesions.ALGORITHMS]
    differing = int((majority(votes) != given["fusion_mav"]).sum())
    table.row("majority: voxels unlike the given", differing, bar="0", reached=differing == 0, digits=0)
    fused = {"staple": staple(votes).labels, "simple": simple(votes).labels}
    for method, labels in fused.items():
        for region, values in REGIONS.items():
            ours, mav, theirs = (
                np.isin(image, values) for image in (labels, given["fusion_mav"], given["fusion_simple"])
            )
            if not (mav.any() or theirs.any()):
                table.row(f"{method}, {region} (ml): in no given", ours.sum() / 1000, 0.0)
                continue
            table.row(f"{method}, {region}, with majority", dice(ours, mav), dice(theirs, mav))
            table.row(f"{method}, {region}, with given SIMPLE", dice(ours, theirs))


SECTIONS: dict[str, Section] = {
    "brain": measure_brain,
    "engine": measure_engine,
    "determinism": measure_determinism,
    "fusion": measure_fusion,
    "structures": measure_structures,
    **lesions.SECTIONS,
}
SIMULATED = ("phantom", "draws")


def main() -> int:
    """Print the tables; exit code 1 where a bar is missed or data are absent."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deepbet-python", type=Path, help="Python of an environment with torch and deepbet")
    parser.add_argument(
        "--torch-python",
        type=Path,
        default=TRAINING if TRAINING.is_file() else None,
        help="Python of an environment with torch and nilearn (draws)",
    )
    parser.add_argument("--pictures", type=Path, help="folder for pictures, none are drawn without one")
    parser.add_argument("--work", type=Path, help="folder to keep: prepared visits in it are used again")
    parser.add_argument("--threads", type=int, default=2, help="threads for brain")
    parser.add_argument("--repeats", type=int, default=3, help="runs of brain")
    parser.add_argument("--brains", type=int, default=2, help="simulated heads for brain")
    parser.add_argument("--heads", type=int, default=6, help="simulated heads for phantom and structures")
    parser.add_argument("--draws", type=int, default=20, help="new cases of the training's simulator")
    with tempfile.TemporaryDirectory() as temporary:
        parser.set_defaults(work=Path(temporary))
        return run_sections(parser, SECTIONS, lambda name: name in SIMULATED or DATA.is_dir())


if __name__ == "__main__":
    sys.exit(main())
