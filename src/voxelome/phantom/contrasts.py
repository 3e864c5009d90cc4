"""Signal of every tissue in every contrast, and what a scanner adds: bias, noise, scale, rounding."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from voxelome.imageio import Affine, Array, FloatArray
from voxelome.phantom.anatomy import TISSUES, Tissues
from voxelome.phantom.deform import Grid
from voxelome.phantom.lesion import Tumour
from voxelome.phantom.person import Site

# Signals relative to white matter in T1w, in the order of TISSUES.
_SIGNALS: dict[str, tuple[float, ...]] = {
    #                     wm    gm    csf   bone  fat   musc  eye   vein  air
    "T1w": (1.00, 0.70, 0.22, 0.09, 1.10, 0.50, 0.24, 0.35, 0.0),
    "ce-gadolinium_T1w": (1.00, 0.72, 0.22, 0.09, 1.10, 0.58, 0.26, 1.45, 0.0),
    "T2w": (0.45, 0.62, 1.20, 0.06, 0.75, 0.25, 1.25, 0.10, 0.0),
    "FLAIR": (0.55, 0.70, 0.13, 0.05, 0.70, 0.30, 0.16, 0.12, 0.0),
}
# Signals of core, oedema and rim; None is the tumour's own.
_TUMOUR: dict[str, tuple[float | None, float | None, float | None]] = {
    "T1w": (0.38, 0.78, 0.70),
    "ce-gadolinium_T1w": (0.40, 0.78, None),
    "T2w": (1.15, 0.95, 0.75),
    "FLAIR": (0.55, None, 0.85),
}
CONTRASTS = tuple(_SIGNALS)


def tissue_sum(tissues: Tissues, values: Mapping[str, float]) -> FloatArray:
    """Sum over the tissues of fraction times value."""
    total = np.zeros(tissues.depth.shape, dtype=np.float32)
    for name in TISSUES:
        if values[name] != 0:
            total += np.float32(values[name]) * tissues.fractions[name]
    return total


def ideal_image(
    contrast: str, tissues: Tissues, parts: dict[str, FloatArray], tumour: Tumour, texture: FloatArray
) -> FloatArray:
    """Noise-free image of one contrast on the grid of `tissues`, white matter in T1w being 1.

    `texture` (mean 0, deviation 1) makes the oedema and the rim uneven, as much as the tumour says.
    """
    image = tissue_sum(tissues, dict(zip(TISSUES, _SIGNALS[contrast], strict=True)))
    image *= 1 - parts["core"] - parts["oedema"] - parts["rim"]
    core, oedema, rim = _TUMOUR[contrast]
    uneven = 1 + np.float32(tumour.texture) * texture
    image += np.float32(core or 0.0) * parts["core"]
    image += np.float32(tumour.oedema_flair if oedema is None else oedema) * parts["oedema"] * uneven
    image += np.float32(tumour.enhancement if rim is None else rim) * parts["rim"] * uneven
    return image


def move_image(image: FloatArray, affine: Affine, grid: Grid, motion: Affine) -> FloatArray:
    """Image of the moved head on another grid, by one cubic interpolation.

    Parameters
    ----------
    image, affine : ndarray
        Image of the head in the reference position and its affine.
    grid : Grid
        Voxels of the moved image.
    motion : ndarray, shape (4, 4)
        Reference world to image world, RAS mm.
    """
    voxels = np.linalg.inv(affine) @ np.linalg.inv(motion) @ grid.affine
    moved = ndimage.affine_transform(
        image, voxels[:3, :3], voxels[:3, 3], grid.shape, order=3, mode="constant", output=np.float32
    )
    return np.asarray(np.clip(moved, 0, None))


def bias_field(rng: np.random.Generator, grid: Grid, amplitude: float) -> FloatArray:
    """Smooth receive sensitivity: the exponential of a random polynomial of degree 3, median about 1.

    `amplitude` is the standard deviation of its logarithm over the field of view.
    """
    axes = [np.linspace(-1, 1, count, dtype=np.float32) for count in grid.shape]
    powers = [np.stack([axis**p for p in range(4)]) for axis in axes]
    order = np.indices((4, 4, 4)).sum(axis=0)
    weights = rng.normal(size=(4, 4, 4)) * ((order > 0) & (order <= 3))
    field = np.einsum("abc,ai,bj,ck->ijk", weights.astype(np.float32), *powers, optimize=True)
    field *= np.float32(amplitude) / field.std()
    return np.asarray(np.exp(field - np.median(field)))


def acquire(rng: np.random.Generator, ideal: FloatArray, grid: Grid, site: Site) -> Array:
    """Image as the scanner stores it: contrast exponent, bias, Rician noise, scale; int16."""
    signal = ideal if site.exponent == 1 else ideal ** np.float32(site.exponent)
    signal = signal * bias_field(rng, grid, site.bias)
    real, imaginary = (rng.standard_normal(grid.shape, dtype=np.float32) for _ in range(2))
    noise = np.float32(site.noise)
    magnitude = np.hypot(signal + noise * real, noise * imaginary)
    return np.asarray(np.rint(magnitude * np.float32(site.scale)).astype(np.int16))
