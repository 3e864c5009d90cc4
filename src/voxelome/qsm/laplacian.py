"""Phase without 2 pi jumps, as the solution of Poisson's equation for its Laplacian."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft

from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.qsm.unwrap import unwrap_to


def unwrap_laplacian(
    phase: Array, mask: MaskArray, spacing: Sequence[float], *, threads: int = 1
) -> FloatArray:
    """Phase, but for a harmonic part, from the Laplacian that wraps do not change.

    Solves Poisson's equation by a cosine transform of the grid, mirrored at its faces (Schofield and Zhu,
    Opt Lett 28:1194, 2003). Their Laplacian of the true phase,
    ``cos(p) lap(sin(p)) - sin(p) lap(cos(p))``, is on a grid the sum of the sines of the steps to the
    neighbours, which shortens steep ones; here it is the sum of the steps themselves, each within half a
    turn, and exact as long as the true steps are. Steps that lead out of the mask are left out, so that
    noise outside it does no harm; for this, the result lacks a part of the phase that is harmonic inside
    the mask. Background removal takes that part away anyhow. There are no paths: noise makes no wraps, but
    spreads, and the result differs from `phase` by no whole turns.

    Parameters
    ----------
    phase : ndarray, shape (x, y, z)
        Wrapped phase in rad.
    mask : ndarray of bool, shape (x, y, z)
    spacing : sequence of 3 floats
        Voxel sizes in mm.
    threads : int
        Threads of the cosine transforms.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        Its mean over the grid is 0; 0 outside the mask.
    """
    laplacian, rates = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, np.float32)
    for axis, size in enumerate(spacing):
        values, inside, total = (np.moveaxis(part, axis, 0) for part in (phase, mask, laplacian))
        step = unwrap_to(np.zeros(()), values[1:] - values[:-1])
        flow = np.where(inside[1:] & inside[:-1], step, 0) / np.float32(size**2)
        total[:-1] += flow
        total[1:] -= flow
        count = len(values)
        rate = (2 - 2 * np.cos(np.pi * np.arange(count) / count)) / size**2
        np.moveaxis(rates, axis, 0)[...] += rate[:, None, None].astype(np.float32)
    rates[0, 0, 0] = 1
    spectrum = fft.dctn(laplacian, workers=threads, overwrite_x=True)
    spectrum /= -rates
    spectrum[0, 0, 0] = 0
    return np.where(mask, fft.idctn(spectrum, workers=threads, overwrite_x=True), 0).astype(np.float32)


def unwrap_echoes(phase: Array, mask: MaskArray, spacing: Sequence[float], *, threads: int = 1) -> FloatArray:
    """Phase of all echoes, but for one harmonic part that grows with echo time, and one of the offset.

    The first echo and the change from each echo to the next are unwrapped (:func:`unwrap_laplacian`): the
    change over a few ms is steep in fewer voxels than the phase of a late echo. As what is lost is linear in
    the phase, the echoes still lie on a line.

    Parameters
    ----------
    phase : ndarray, shape (x, y, z, echo)
        Wrapped phase in rad.
    mask : ndarray of bool, shape (x, y, z)
    spacing : sequence of 3 floats
        Voxel sizes in mm.
    threads : int
        Threads of the cosine transforms.

    Returns
    -------
    ndarray of float32, shape (x, y, z, echo)
    """
    unwrapped = np.empty(phase.shape, np.float32)
    unwrapped[..., 0] = unwrap_laplacian(phase[..., 0], mask, spacing, threads=threads)
    for echo in range(1, phase.shape[-1]):
        change = unwrap_laplacian(phase[..., echo] - phase[..., echo - 1], mask, spacing, threads=threads)
        unwrapped[..., echo] = unwrapped[..., echo - 1] + change
    return unwrapped
