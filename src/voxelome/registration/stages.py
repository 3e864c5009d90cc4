"""ANTs' registration program on arrays: its stages in, its transforms out, no file left behind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.io import loadmat

from voxelome.ants_image import RAS_TO_LPS, AntsImage, run_ants
from voxelome.imageio import Affine, Array, MaskArray
from voxelome.registration.resample import load_itk_warp, save_itk_affine


@dataclass(frozen=True)
class Grid:
    """An image as registration uses it.

    Attributes
    ----------
    data : ndarray, shape (X, Y, Z)
        Voxel values.
    affine : ndarray, shape (4, 4)
        Voxels to world (RAS+, mm).
    mask : ndarray of bool, shape (X, Y, Z), or None
        Where the images are compared; everywhere if None.
    """

    data: Array
    affine: Affine
    mask: MaskArray | None = None


@dataclass(frozen=True)
class Stage:
    """One stage of antsRegistration.

    Attributes
    ----------
    transform : str
        Such as ``Rigid[0.1]`` or ``SyN[0.2,3,0]``.
    metric, parameters : str
        Name, and what follows the two images and the weight: ``MI`` and ``32,Regular,0.25``.
    iterations, shrink, sigmas : sequence of int
        Per level, from coarse to fine; sigmas in voxels.
    tolerance : str
        Convergence threshold and the iterations that it is judged over.
    """

    transform: str
    metric: str
    parameters: str
    iterations: Sequence[int]
    shrink: Sequence[int]
    sigmas: Sequence[float]
    tolerance: str = "1e-6,10"


@dataclass(frozen=True)
class Transforms:
    """What antsRegistration found.

    Attributes
    ----------
    affine : ndarray, shape (4, 4)
        All linear stages and the start in one: fixed world to moving world, RAS mm.
    displacement : Grid or None
        Vectors in RAS mm, shape (X, Y, Z, 3), added to a point of the fixed image before the affine. Its
        grid is that of the last level: the fixed image's, coarser if that level shrinks.
    inverse : Grid or None
        Vectors that undo the displacement, on the same grid.
    """

    affine: Affine
    displacement: Grid | None = None
    inverse: Grid | None = None


def run_stages(
    fixed: Grid,
    moving: Grid,
    stages: Sequence[Stage],
    *,
    start: Affine | None = None,
    seed: int = 0,
    threads: int = 1,
) -> Transforms:
    """Transforms that antsRegistration finds.

    Parameters
    ----------
    fixed, moving : Grid
        Images.
    stages : sequence of Stage
        Linear stages first; at most one deformable stage.
    start : ndarray, shape (4, 4), optional
        Where to start, fixed world to moving world; identity if not given.
    seed : int
        Of the metric's sampling; ANTs takes 0 for "from the clock", so seeds are counted from 1 here.
    threads : int
        Threads of ITK. Its first use in a process fixes them.

    Raises
    ------
    DataError
        ANTs gave up, as it does where the images do not overlap.
    """
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", str(threads))
    images = [AntsImage(grid.data, grid.affine) for grid in (fixed, moving)]
    masks = [None if grid.mask is None else AntsImage(grid.mask, grid.affine) for grid in (fixed, moving)]
    pointers = ",".join(image.argument for image in images)
    with TemporaryDirectory(prefix="voxelome-") as folder:
        begin = "Identity" if start is None else str(save_itk_affine(Path(folder) / "start.mat", start))
        arguments = ["--dimensionality", "3", "--float", "1", "--random-seed", str(seed + 1)]
        arguments += ["--collapse-output-transforms", "1", "--output", str(Path(folder) / "out")]
        arguments += ["--initial-moving-transform", begin]
        for stage in stages:
            arguments += _stage_arguments(stage, pointers)
        names = ["NA" if mask is None else mask.argument for mask in masks]
        arguments += ["--masks", f"[{names[0]},{names[1]}]"]
        run_ants("antsRegistration", arguments)
        affine = read_affine(Path(folder) / "out0GenericAffine.mat")
        warps = [Path(folder) / f"out1{name}Warp.nii.gz" for name in ("", "Inverse")]
        return Transforms(affine, *(read_warp(warp) for warp in warps if warp.exists()))


def _stage_arguments(stage: Stage, pointers: str) -> list[str]:
    options = {
        "--transform": stage.transform,
        "--metric": f"{stage.metric}[{pointers},1,{stage.parameters}]",
        "--convergence": f"[{'x'.join(map(str, stage.iterations))},{stage.tolerance}]",
        "--shrink-factors": "x".join(map(str, stage.shrink)),
        "--smoothing-sigmas": "x".join(map(str, stage.sigmas)) + "vox",
    }
    return [part for option in options.items() for part in option]


def read_affine(path: Path) -> Affine:
    """Matrix from fixed world to moving world, RAS mm, of a ``.mat`` file that ANTs wrote."""
    content = loadmat(path)
    (parameters,) = (
        value.ravel().astype(np.float64) for name, value in content.items() if "Transform" in name
    )
    centre = content["fixed"].ravel().astype(np.float64)
    lps = np.eye(4)
    lps[:3, :3] = parameters[:9].reshape(3, 3)
    # ITK: p' = A (p - c) + c + t
    lps[:3, 3] = parameters[9:] + centre - lps[:3, :3] @ centre
    return np.asarray(RAS_TO_LPS @ lps @ RAS_TO_LPS)


def read_warp(path: Path) -> Grid:
    """Displacement in RAS mm of a warp that ANTs wrote."""
    return Grid(*load_itk_warp(path))
