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
from dataclasses import dataclass, field
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
    """Images (x, y, z) and regions of one subject, on one grid.

    Where there are chains of perturbations, `perturbed` holds image and region after each.
    """

    images: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]
    spacing: tuple[float, float, float]
    parameters: dict[str, Any]
    chains: list[Any] = field(default_factory=list)
    perturbed: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @property
    def affine(self) -> np.ndarray:
        """Voxel to world."""
        return np.diag([*self.spacing, 1.0])

    def pairs(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Every image with every region, or after every chain."""
        return self.perturbed or {
            f"{image} {name}": (data, mask)
            for image, data in self.images.items()
            for name, mask in self.masks.items()
        }


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


def perturbed() -> Case:
    """The tumour of brain1 after 50 chains of perturbations, original image.

    PyRadiomics is given the perturbed images; voxelome perturbs within the time measured.
    """
    from voxelome.radiomics.perturbation import perturb, perturbations

    found = brain1()
    case = Case(found.images, found.masks, found.spacing, parameters({"Original": {}}), perturbations(50, 0))
    (image, data), (region, mask) = *case.images.items(), *case.masks.items()
    for number, chain in enumerate(case.chains):
        case.perturbed[f"{image} {region} {number}"] = perturb(data, mask, case.affine, chain)
    return case


CASES: dict[str, Callable[[], Case]] = {
    "brain1": brain1,
    "sub-du7294": glioma,
    "200,000 voxels": large,
    "50 perturbations": perturbed,
}


def parameters(types: dict[str, Any]) -> dict[str, Any]:
    """Parameter file of both engines."""
    return {"setting": {"binWidth": 25}, "imageType": types, "featureClass": CLASSES}


def ours(case: Case) -> Values:
    """Every feature by voxelome."""
    from voxelome.radiomics.extract import extract_regions, shape_features
    from voxelome.radiomics.perturbation import perturbed_features
    from voxelome.radiomics.settings import from_parameters

    settings, affine = from_parameters(case.parameters), case.affine
    found: dict[str, list[Any]] = {}
    shapes = {name: shape_features(mask, affine, settings) for name, mask in case.masks.items()}
    for image, data in case.images.items():
        if case.chains:
            measured = perturbed_features(data, case.masks, affine, settings, case.chains)
            found |= {
                f"{image} {n} {i}": m.values for n, all_m in measured.items() for i, m in enumerate(all_m)
            }
        else:
            measured = extract_regions(data, case.masks, affine, settings)
            found |= {f"{image} {name}": [*shapes[name], *m.values] for name, m in measured.items()}
    return {
        f"{key} {item.filter}_{item.feature_class}_{item.feature}": np.nan
        if item.value is None
        else item.value
        for key, items in found.items()
        for item in items
    }


def theirs(case: Case) -> Values:
    """Every feature by PyRadiomics' own extractor."""
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    logging.getLogger("radiomics").setLevel(logging.CRITICAL + 1)
    extractor = RadiomicsFeatureExtractor(case.parameters)
    values: Values = {}
    for name, (data, mask) in case.pairs().items():
        pair = [SimpleITK.GetImageFromArray(item.transpose()) for item in (data, mask.astype(np.uint8))]
        for item in pair:
            item.SetSpacing(case.spacing)
        for key, value in extractor.execute(*pair).items():
            if not key.startswith("diagnostics"):
                values[f"{name} {key}"] = float(value)
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
