"""Radiomics beside plain PyRadiomics: CPU seconds, peak memory and the largest difference, in one run.

Each engine reads nothing but arrays and runs in a process of its own, so that peak memory is its own; a first
call that is not counted compiles and imports. CPU seconds are medians of the runs.

(Not named radiomics.py: a script's folder goes before the installed packages.)
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FILTERS = {"Original": {}, "LoG": {"sigma": [1.0, 2.0, 3.0, 4.0, 5.0]}, "Wavelet": {}}
CLASSES = dict.fromkeys(("shape", "firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm"))
Values = dict[str, float]


@dataclass(frozen=True)
class Case:
    """Images (x, y, z) and regions of one subject, on one grid."""

    images: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    spacing: tuple[float, float, float]
    parameters: dict[str, Any]


def read(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Array (x, y, z) and voxel sizes of a file."""
    image = SimpleITK.ReadImage(str(path))
    return SimpleITK.GetArrayFromImage(image).transpose(), image.GetSpacing()


def brain1() -> Case:
    """The tumour of PyRadiomics' first example: 1,316 features."""
    folder = DATA / "extra" / "pyradiomics_brain1"
    (image, spacing), (label, _) = (read(folder / f"brain1_{name}.nrrd") for name in ("image", "label"))
    return Case({"image": image}, {"tumour": label == 1}, spacing, parameters(FILTERS))


def glioma() -> Case:
    """Four contrasts and three regions of sub-du7294."""
    folder = DATA / "bids-real"
    names = ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR")
    read_all = {name: read(folder / "sub-du7294" / "anat" / f"sub-du7294_{name}.nii.gz") for name in names}
    labels, spacing = read(
        folder / "derivatives" / "masks" / "sub-du7294" / "anat" / "sub-du7294_desc-tumor_dseg.nii.gz"
    )
    masks = {"one": labels == 1, "two": labels == 2, "whole": labels > 0}
    return Case({name: found[0] for name, found in read_all.items()}, masks, spacing, parameters(FILTERS))


def large() -> Case:
    """One region of 200,000 voxels (a ball of noise with a ragged surface), original image."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(-42, 43)] * 3, indexing="ij"))
    mask = np.linalg.norm(grid, axis=0) + rng.normal(0, 1, grid.shape[1:]) < 36.3
    image = rng.normal(400, 100, mask.shape)
    return Case({"image": image}, {"ball": mask}, (1.0, 1.0, 1.0), parameters({"Original": {}}))


CASES: dict[str, Callable[[], Case]] = {"brain1": brain1, "sub-du7294": glioma, "200,000 voxels": large}


def parameters(types: dict[str, Any]) -> dict[str, Any]:
    """Parameter file of both engines."""
    return {"setting": {"binWidth": 25}, "imageType": types, "featureClass": CLASSES}


def ours(case: Case) -> Values:
    """Every feature by voxelome."""
    from voxelome.radiomics.extract import extract_regions, shape_features
    from voxelome.radiomics.settings import from_parameters

    settings, affine = from_parameters(case.parameters), np.diag([*case.spacing, 1.0])
    values: Values = {}
    shapes = {name: shape_features(mask, affine, settings) for name, mask in case.masks.items()}
    for image, data in case.images.items():
        for name, found in extract_regions(data, case.masks, affine, settings).items():
            for item in [*shapes[name], *found.values]:
                key = f"{image} {name} {item.filter}_{item.feature_class}_{item.feature}"
                values[key] = np.nan if item.value is None else item.value
    return values


def theirs(case: Case) -> Values:
    """Every feature by PyRadiomics' own extractor."""
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    logging.getLogger("radiomics").setLevel(logging.CRITICAL + 1)
    extractor = RadiomicsFeatureExtractor(case.parameters)
    values: Values = {}
    for image, data in case.images.items():
        for name, mask in case.masks.items():
            pair = [SimpleITK.GetImageFromArray(item.transpose()) for item in (data, mask.astype(np.uint8))]
            for item in pair:
                item.SetSpacing(case.spacing)
            for key, value in extractor.execute(*pair).items():
                if not key.startswith("diagnostics"):
                    values[f"{image} {name} {key}"] = float(value)
    return values


def measure(engine: Callable[[Case], Values], name: str, runs: int) -> tuple[Values, float, float]:
    """Values, median of CPU seconds, and peak memory of the process in GB."""
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    case = CASES[name]()
    small = brain1()
    engine(small)
    seconds = []
    for _ in range(runs):
        begin = time.process_time()
        values = engine(case)
        seconds.append(time.process_time() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return values, statistics.median(seconds), peak / 1024**2


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cases", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print("| case | features | PyRadiomics CPU s | voxelome CPU s | ratio | GB | largest difference | n/a |")
    print("|---|---|---|---|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for name in options.cases:
        results = []
        for engine in (theirs, ours):
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                results.append(pool.submit(measure, engine, name, options.runs).result())
        (peer, slow, peer_memory), (own, fast, memory) = results
        assert peer.keys() == own.keys(), sorted(peer.keys() ^ own.keys())[:5]
        known = [key for key, value in own.items() if np.isfinite(value)]
        apart = max(abs(own[key] - peer[key]) / max(abs(peer[key]), 1e-12) for key in known)
        numbers = f"{slow:.2f} | {fast:.2f} | {slow / fast:.1f} x | {peer_memory:.2f}, {memory:.2f}"
        print(f"| {name} | {len(own)} | {numbers} | {apart:.1e} | {len(own) - len(known)} |", flush=True)


if __name__ == "__main__":
    main()
