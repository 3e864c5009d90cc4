"""How much of a susceptibility map is streaks, told from the map alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft

from voxelome.imageio import Array, MaskArray
from voxelome.qsm.dipole import dipole_kernel, surrounded

# Of the dipole kernel: the cone where it hides the susceptibility, and where it shows it.
_CONE, _SEEN = 0.08, (0.1, 0.2)
# Of the highest frequency that the largest side of a voxel holds: noise and streaks, little anatomy.
_SHELL = (0.65, 0.95)


def streaking_index(
    chi: Array, mask: MaskArray, spacing: Sequence[float], direction: Sequence[float], *, threads: int = 1
) -> float | None:
    """Mean amplitude of a map's spectrum near the dipole kernel's zeros over that beside them.

    Anatomy favours neither, so an even map has about 1; streaks lie where the kernel is near 0 and raise it,
    and what an inversion left out there lowers it. Regions and mean amplitudes are those of the frequency
    analysis of Milovic et al. (Magn Reson Med 85:480, 2021): |D| < 0.08 against 0.1 < D < 0.2, both at 0.65
    to 0.95 of the Nyquist frequency. Their toolbox (FANSI) stops nonlinear dipole inversion where such a
    ratio passes 1.

    Parameters
    ----------
    chi : ndarray, shape (x, y, z)
        Susceptibility in ppm.
    mask : ndarray of bool, shape (x, y, z)
    spacing, direction : sequences of 3 floats
        Voxel sizes in mm; main field along the voxel axes.
    threads : int
        Threads of the Fourier transform.

    Returns
    -------
    float or None
        None where the map is constant or the grid too small to hold both regions.
    """
    shape, inner = surrounded(mask.shape, spacing, margin=0.0)
    wide = np.zeros(shape, np.float32)
    wide[inner][mask] = chi[mask] - chi[mask].mean()
    amplitude = np.abs(fft.rfftn(wide, workers=threads))
    kernel = dipole_kernel(shape, spacing, direction)
    shell = _shell(shape, spacing)
    cone = amplitude[shell & (np.abs(kernel) < _CONE)]
    seen = amplitude[shell & (kernel > _SEEN[0]) & (kernel < _SEEN[1])]
    if not (cone.size and seen.any()):
        return None
    return float(cone.mean(dtype=np.float64) / seen.mean(dtype=np.float64))


def _shell(shape: Sequence[int], spacing: Sequence[float]) -> MaskArray:
    """High frequencies, alike along all axes."""
    x, y = (np.fft.fftfreq(n, size) for n, size in zip(shape[:2], spacing[:2], strict=True))
    z = np.fft.rfftfreq(shape[2], spacing[2])
    share = np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + z**2) * 2 * max(spacing)
    shell: MaskArray = (share > _SHELL[0]) & (share < _SHELL[1])
    return shell
