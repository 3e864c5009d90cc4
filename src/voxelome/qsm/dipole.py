"""The field of a magnetic dipole, in k-space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import fft

from voxelome.imageio import Affine, Array, FloatArray, MaskArray

# Room around a mask (mm): fields fade before the transform repeats them, and sources outside may lie in it.
SURROUNDINGS = 20.0


@dataclass(frozen=True)
class WeightedProblem:
    """What a weighted inversion solves, on a grid larger than its mask.

    Attributes
    ----------
    shape, inner
        Of the larger grid, and the mask's place in it.
    kernel : ndarray
        Dipole kernel on the half grid of a real transform.
    trust : ndarray of float32
        Squared weight of each voxel; 0 outside the mask.
    measured : ndarray of float32
        Field in ppm; 0 outside the mask.
    """

    shape: tuple[int, ...]
    inner: tuple[slice, ...]
    kernel: Array
    trust: Array
    measured: Array


def field_direction(affine: Affine) -> tuple[float, float, float]:
    """Unit vector of the main field along the voxel axes.

    The main field lies along the scanner's z, which is the third axis of world coordinates; in an oblique
    acquisition it is oblique to the voxels.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Voxel indices to scanner coordinates.
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    along = np.linalg.solve(axes, np.array([0.0, 0.0, 1.0]))
    x, y, z = along / np.linalg.norm(along)
    return float(x), float(y), float(z)


def dipole_kernel(
    shape: Sequence[int], spacing: Sequence[float], b0_direction: Sequence[float] = (0.0, 0.0, 1.0)
) -> Array:
    """Unit dipole response ``1/3 - (k.b)^2 / k^2`` for a real transform.

    Multiplied with the transform of a susceptibility in ppm it gives that of the relative field shift in
    ppm, with the Lorentz sphere's field taken out (Salomir et al., Concepts Magn Reson 19B:26, 2003;
    Marques and Bowtell, ibid. 25B:65, 2005). The mean of the field is not defined: 0 at k = 0.

    Parameters
    ----------
    shape : sequence of 3 int
        Grid in image space.
    spacing : sequence of 3 floats
        Voxel sizes in mm.
    b0_direction : sequence of 3 floats
        Unit vector of the main field along the voxel axes.

    Returns
    -------
    ndarray of float32, shape (x, y, z // 2 + 1)
    """
    along = _frequency_sum(shape, spacing, b0_direction, 1)
    squared = _frequency_sum(shape, spacing, (1.0, 1.0, 1.0), 2)
    squared[0, 0, 0] = 1.0
    kernel = 1.0 / 3.0 - along**2 / squared
    kernel[0, 0, 0] = 0.0
    return kernel.astype(np.float32)


def forward_field(
    chi: Array,
    spacing: Sequence[float],
    direction: Sequence[float],
    *,
    threads: int = 1,
) -> FloatArray:
    """Field shift in ppm of a susceptibility in ppm with nothing around it.

    Parameters
    ----------
    chi : ndarray, shape (x, y, z)
    spacing, direction : sequences of 3 floats
        Voxel sizes in mm; main field along the voxel axes.
    threads : int
        Threads of the Fourier transforms.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
    """
    shape, inner = surrounded(chi.shape, spacing)
    wide = np.zeros(shape, np.float32)
    wide[inner] = chi
    spectrum = fft.rfftn(wide, workers=threads) * dipole_kernel(shape, spacing, direction)
    field: FloatArray = fft.irfftn(spectrum, s=shape, workers=threads)[inner]
    return field


def surrounded(
    shape: Sequence[int], spacing: Sequence[float], *, margin: float = SURROUNDINGS, multiple: int = 1
) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    """Larger grid with at least `margin` mm on all sides, and the old one in it.

    Its sizes are fast to transform and multiples of `multiple`.
    """
    extra = [2 * int(np.ceil(margin / size)) for size in spacing]
    wide = tuple(
        multiple * fft.next_fast_len(-(-(n + more) // multiple), real=True)
        for n, more in zip(shape, extra, strict=True)
    )
    starts = [(total - n) // 2 for total, n in zip(wide, shape, strict=True)]
    return wide, tuple(slice(start, start + n) for start, n in zip(starts, shape, strict=True))


def weighted_problem(
    field: Array, weight: Array, mask: MaskArray, spacing: Sequence[float], direction: Sequence[float]
) -> WeightedProblem:
    """Field, trust and kernel of a mask on a larger grid.

    Parameters
    ----------
    field, weight : ndarray, shape (x, y, z)
        Local field in ppm, and the trust in each voxel.
    mask : ndarray of bool, shape (x, y, z)
    spacing, direction : sequences of 3 floats
        Voxel sizes in mm; main field along the voxel axes.
    """
    shape, inner = surrounded(mask.shape, spacing)
    trust, measured = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    trust[inner] = np.where(mask, weight, 0) ** 2
    measured[inner] = np.where(mask, field, 0)
    return WeightedProblem(shape, inner, dipole_kernel(shape, spacing, direction), trust, measured)


def squared_frequencies(shape: Sequence[int], spacing: Sequence[float]) -> Array:
    """Squared size of the transformed forward differences, 1/mm^2: the negative Laplacian in k-space."""
    x, y, z = (
        (2 - 2 * np.cos(2 * np.pi * np.arange(n) / n)) / size**2
        for n, size in zip(shape, spacing, strict=True)
    )
    total: Array = x[:, None, None] + y[:, None] + z[: shape[2] // 2 + 1]
    return total.astype(np.float32)


def _frequency_sum(
    shape: Sequence[int], spacing: Sequence[float], weights: Sequence[float], power: int
) -> Array:
    """Sum over the axes of ``weight * frequency**power`` on the half grid of a real transform."""
    first = np.fft.fftfreq(shape[0], spacing[0])[:, None, None] ** power
    second = np.fft.fftfreq(shape[1], spacing[1])[None, :, None] ** power
    third = np.fft.rfftfreq(shape[2], spacing[2])[None, None, :] ** power
    total: Array = weights[0] * first + weights[1] * second + weights[2] * third
    return total
