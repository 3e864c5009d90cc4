"""Other ways to remove the background: the field from outside is harmonic inside the mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import fft, ndimage

from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.qsm.background import WHOLE, sphere_spectrum
from voxelome.qsm.dipole import surrounded
from voxelome.qsm.solver import conjugate_gradients


def resharp(
    field: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    *,
    radius: float = 6.0,
    regularisation: float = 1e-3,
    iterations: int = 30,
    threads: int = 1,
) -> tuple[FloatArray, MaskArray]:
    """Local field by regularised deconvolution of sphere means, and where it is known (RESHARP).

    Minimises ``|M S (field - local)|^2 + regularisation |local|^2`` by conjugate gradients, S being the value
    minus its mean over a sphere and M the voxels whose sphere lies in the mask: of all local fields that
    the means allow, the smallest (Sun and Wilman, Magn Reson Med 71:1151, 2014). A rim of the radius is lost.

    Parameters
    ----------
    field : ndarray, shape (x, y, z)
        Total field in any unit; only its values in the mask count.
    mask : ndarray of bool, shape (x, y, z)
    spacing : sequence of 3 floats
        Voxel sizes in mm.
    radius : float
        Of the spheres in mm; at least the coarsest voxel's size is taken.
    regularisation : float
        Of the squared local field.
    iterations : int
        Of the conjugate gradients, at most.
    threads : int
        Threads of the Fourier transforms.

    Returns
    -------
    local : ndarray of float32, shape (x, y, z)
        0 outside `kept`.
    kept : ndarray of bool, shape (x, y, z)
    """
    wide, inner, kept, averaged = _spheres(field, mask, spacing, radius, threads)

    def deviation(values: Array) -> Array:
        return values - averaged(values)

    def operator(values: Array) -> Array:
        return deviation(np.where(kept, deviation(values), 0)) + np.float32(regularisation) * values

    target = deviation(np.where(kept, deviation(wide), 0))
    local = conjugate_gradients(operator, target, iterations, tolerance=1e-3)
    return np.where(kept, local, 0)[inner].astype(np.float32), kept[inner]


def iterative_means(
    field: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    *,
    radius: float = 5.0,
    iterations: int = 100,
    tolerance: float = 1e-3,
    threads: int = 1,
) -> tuple[FloatArray, MaskArray]:
    """Local field after the field that equals its own sphere means is taken away (iterative SMV).

    The background is what repeated sphere means converge to while the rim, where no sphere fits, keeps
    the total field: ``b = M S b`` within and ``b = field`` at the rim (Wen et al., Magn Reson Med 72:1065,
    2014). Repetitions are slow; here ``(1 - M S M) b = M S field_rim``, which has the
    same solution, is solved by conjugate gradients. Exact where the local field is 0 at the rim; a
    rim of the radius is lost.

    Parameters
    ----------
    field : ndarray, shape (x, y, z)
        Total field in any unit; only its values in the mask count.
    mask : ndarray of bool, shape (x, y, z)
    spacing : sequence of 3 floats
        Voxel sizes in mm.
    radius : float
        Of the spheres in mm; at least the coarsest voxel's size is taken. Small ones keep more of the mask,
        but its outermost voxels then say what the background is.
    iterations : int
        Of the conjugate gradients, at most.
    tolerance : float
        They stop when the residual is smaller than this share of the first one.
    threads : int
        Threads of the Fourier transforms.

    Returns
    -------
    local : ndarray of float32, shape (x, y, z)
        0 outside `kept`.
    kept : ndarray of bool, shape (x, y, z)
    """
    # The mean is harmonic; without it the float32 transforms are more exact.
    wide, inner, kept, averaged = _spheres(field - field[mask].mean(), mask, spacing, radius, threads)
    rim = np.where(kept, 0, wide)

    def operator(values: Array) -> Array:
        remainder: Array = values - np.where(kept, averaged(values), 0)
        return remainder

    background = conjugate_gradients(
        operator, np.where(kept, averaged(rim), 0), iterations, tolerance=tolerance
    )
    return np.where(kept, wide - background, 0)[inner].astype(np.float32), kept[inner]


def _spheres(
    field: Array, mask: MaskArray, spacing: Sequence[float], radius: float, threads: int
) -> tuple[FloatArray, tuple[slice, ...], MaskArray, Callable[[Array], Array]]:
    """Field on a wider grid, its place there, where whole spheres lie in the mask, and the mean over each."""
    radius = max(radius, *spacing)
    shape, inner = surrounded(mask.shape, spacing, margin=radius)
    mean = sphere_spectrum(shape, spacing, radius, threads)
    wide, inside = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    wide[inner], inside[inner] = np.where(mask, field, 0), mask

    def averaged(values: Array) -> Array:
        result: Array = fft.irfftn(fft.rfftn(values, workers=threads) * mean, s=shape, workers=threads)
        return result

    return wide, inner, (averaged(inside) > WHOLE) & (inside > 0), averaged


def laplacian_boundary_values(
    field: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    *,
    start: Array | None = None,
    iterations: int = 400,
    tolerance: float = 1e-4,
) -> tuple[FloatArray, MaskArray]:
    """Local field after the harmonic function with the field's values at the mask's edge is taken away (LBV).

    Solves Laplace's equation inside by conjugate gradients, with the total field at the outermost voxels
    (Zhou et al., NMR Biomed 27:312, 2014). Exact where the local field is 0 there, which it is not near
    strong sources. A rim of one voxel is lost.

    Parameters
    ----------
    field : ndarray, shape (x, y, z)
        Total field in any unit; only its values in the mask count.
    mask : ndarray of bool, shape (x, y, z)
    spacing : sequence of 3 floats
        Voxel sizes in mm.
    start : ndarray, shape (x, y, z), optional
        Background that the iterations start from; zero if not given. A good one saves most of them.
    iterations : int
        Of the conjugate gradients, at most.
    tolerance : float
        They stop when the residual is smaller than this share of the first one.

    Returns
    -------
    local : ndarray of float32, shape (x, y, z)
        0 outside `kept`.
    kept : ndarray of bool, shape (x, y, z)
    """
    kept: MaskArray = ndimage.binary_erosion(mask)
    kept[[0, -1]] = kept[:, [0, -1]] = kept[:, :, [0, -1]] = False
    edge = np.where(mask & ~kept, field, 0).astype(np.float32)
    rates = [np.float32(1 / size**2) for size in spacing]

    def operator(values: Array) -> Array:
        total = (2 * sum(rates)) * values
        for axis, rate in enumerate(rates):
            moved, source = np.moveaxis(total, axis, 0), np.moveaxis(values, axis, 0)
            moved[1:] -= rate * source[:-1]
            moved[:-1] -= rate * source[1:]
        return np.where(kept, total, 0)

    first = None if start is None else np.where(kept, start, 0).astype(np.float32)
    background = conjugate_gradients(operator, -operator(edge), iterations, start=first, tolerance=tolerance)
    return np.where(kept, field - background, 0).astype(np.float32), kept
