"""Susceptibility from the local field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import fft

from voxelome.imageio import Array, MaskArray
from voxelome.qsm.compiled import compiled
from voxelome.qsm.dipole import dipole_kernel


def tkd(
    field: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    direction: Sequence[float],
    *,
    threshold: float = 0.2,
    threads: int = 1,
) -> Array:
    """Susceptibility by thresholded k-space division.

    Where the dipole kernel is smaller than the threshold, its size is replaced by the threshold (Shmueli et
    al., Magn Reson Med 62:1510, 2009). That underestimates the susceptibility by a known factor, which is
    divided out (Schweser et al., Magn Reson Med 69:1582, 2013). The factor is here the mean over all
    directions, which is exact for a sphere of any size; the centre of the point-spread function on a
    cubic grid counts the corners of k-space too often and would overcorrect by some 8 percent.

    Parameters
    ----------
    field : ndarray, shape (x, y, z)
        Local field in ppm.
    mask : ndarray of bool, shape (x, y, z)
    spacing, direction : sequences of 3 floats
        Voxel sizes in mm; main field along the voxel axes.
    threshold : float
        Between 0 and 2/3.
    threads : int
        Threads of the Fourier transforms.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        Susceptibility in ppm, of mean 0 over the mask; 0 outside.
    """
    shape = _padded(mask.shape)
    kernel = dipole_kernel(shape, spacing, direction)
    sign = np.where(kernel < 0, -1.0, 1.0)
    inverse = sign / np.maximum(np.abs(kernel), threshold)
    spectrum = fft.rfftn(np.where(mask, field, 0).astype(np.float32), s=shape, workers=threads)
    chi = fft.irfftn(
        spectrum * (inverse / _recovered(threshold)).astype(np.float32), s=shape, workers=threads
    )
    return _referenced(chi, mask)


def total_variation(
    field: Array,
    weight: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    direction: Sequence[float],
    *,
    regularisation: float,
    iterations: int,
    tolerance: float = 1e-3,
    threads: int = 1,
) -> Array:
    """Susceptibility that fits the local field and has little total variation.

    Minimises ``1/2 |W (D chi - field)|^2 + regularisation * |grad chi|_1`` by the alternating direction
    method of multipliers, with both ``D chi`` and ``grad chi`` split off, so that every step is closed
    (Bilgic et al., Magn Reson Med 72:1444, 2014; Milovic et al., FANSI, Magn Reson Med 80:814, 2018).

    Parameters
    ----------
    field : ndarray, shape (x, y, z)
        Local field in ppm.
    weight : ndarray, shape (x, y, z)
        Trust in each voxel's field, about 0..1; taken as 0 outside the mask.
    mask : ndarray of bool, shape (x, y, z)
    spacing, direction : sequences of 3 floats
        Voxel sizes in mm; main field along the voxel axes.
    regularisation : float
        ppm mm.
    iterations : int
        At most.
    tolerance : float
        Stop when an iteration changes the susceptibility by less than this share of its norm.
    threads : int
        Threads of the Fourier transforms.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        Susceptibility in ppm, of mean 0 over the mask; 0 outside.
    """
    shape = _padded(mask.shape)
    kernel = dipole_kernel(shape, spacing, direction)
    fidelity, smoothness = np.float32(1.0), np.float32(100 * regularisation)
    system = fidelity * kernel**2 + smoothness * _laplacian(shape, spacing)
    system[0, 0, 0] = 1.0
    corner = tuple(slice(n) for n in mask.shape)
    trust = np.zeros(shape, np.float32)
    trust[corner] = np.where(mask, weight, 0) ** 2
    measured = np.zeros(shape, np.float32)
    measured[corner] = np.where(mask, field, 0)
    inverse_steps = np.array([1 / size for size in spacing], np.float32)
    slack = np.zeros((3, *shape), np.float32)
    target = np.zeros((3, *shape), np.float32)
    # Starts from the field itself: exact where trusted, and 0 elsewhere.
    field_target = measured * (trust > 0)
    field_slack = np.zeros(shape, np.float32)
    divergence = np.zeros(shape, np.float32)
    chi = np.zeros(shape, np.float32)
    for _ in range(iterations):
        spectrum = fidelity * kernel * fft.rfftn(field_target, workers=threads)
        spectrum += smoothness * fft.rfftn(divergence, workers=threads)
        spectrum /= system
        spectrum[0, 0, 0] = 0
        before, chi = chi, fft.irfftn(spectrum, s=shape, workers=threads)
        predicted = fft.irfftn(spectrum * kernel, s=shape, workers=threads)
        if np.linalg.norm(chi - before) <= tolerance * np.linalg.norm(chi):
            break
        _update_field(predicted, measured, trust, fidelity, field_slack, field_target)
        _update_gradient(chi, inverse_steps, np.float32(regularisation / smoothness), slack, target)
        _adjoint_gradient(target, inverse_steps, divergence)
    return _referenced(chi, mask)


def _recovered(threshold: float) -> float:
    """Share of the susceptibility that thresholded division recovers, averaged over directions."""
    cosine = (np.arange(20000) + 0.5) / 20000
    return float(np.minimum(np.abs(1 / 3 - cosine**2) / threshold, 1).mean())


def _padded(shape: Sequence[int]) -> tuple[int, ...]:
    """Grid with room for the field to fade before it wraps round."""
    return tuple(fft.next_fast_len(n + max(n // 4, 8), real=True) for n in shape)


def _referenced(chi: Array, mask: MaskArray) -> Array:
    """Map on the mask's grid, of mean 0 over the mask and 0 outside."""
    inner = chi[tuple(slice(n) for n in mask.shape)]
    return np.where(mask, inner - inner[mask].mean(), 0).astype(np.float32)


def _laplacian(shape: Sequence[int], spacing: Sequence[float]) -> Array:
    """Squared size of the transformed forward differences."""
    x, y, z = (
        (2 - 2 * np.cos(2 * np.pi * np.arange(n) / n)) / size**2
        for n, size in zip(shape, spacing, strict=True)
    )
    total: Array = x[:, None, None] + y[:, None] + z[: shape[2] // 2 + 1]
    return total.astype(np.float32)


@compiled(fastmath=True)
def _update_field(predicted: Any, measured: Any, trust: Any, fidelity: Any, slack: Any, target: Any) -> None:
    """Weighted compromise of predicted and measured field; `target` becomes it minus the multiplier."""
    p, m, t, s, out = predicted.ravel(), measured.ravel(), trust.ravel(), slack.ravel(), target.ravel()
    for i in range(p.size):
        shifted = p[i] + s[i]
        split = (t[i] * m[i] + fidelity * shifted) / (t[i] + fidelity)
        s[i] = shifted - split
        out[i] = split - s[i]


@compiled(fastmath=True)
def _update_gradient(chi: Any, inverse_steps: Any, shrinkage: Any, slack: Any, target: Any) -> None:
    """Shrink the gradient's length; `target` becomes the shrunk gradient minus the multiplier."""
    nx, ny, nz = chi.shape
    for x in range(nx):
        x1 = x + 1 if x + 1 < nx else 0
        for y in range(ny):
            y1 = y + 1 if y + 1 < ny else 0
            for z in range(nz):
                z1 = z + 1 if z + 1 < nz else 0
                here = chi[x, y, z]
                gx = (chi[x1, y, z] - here) * inverse_steps[0] + slack[0, x, y, z]
                gy = (chi[x, y1, z] - here) * inverse_steps[1] + slack[1, x, y, z]
                gz = (chi[x, y, z1] - here) * inverse_steps[2] + slack[2, x, y, z]
                length = np.sqrt(gx * gx + gy * gy + gz * gz)
                keep = (length - shrinkage) / length if length > shrinkage else np.float32(0)
                cut = np.float32(1) - keep
                slack[0, x, y, z] = cut * gx
                slack[1, x, y, z] = cut * gy
                slack[2, x, y, z] = cut * gz
                target[0, x, y, z] = (keep - cut) * gx
                target[1, x, y, z] = (keep - cut) * gy
                target[2, x, y, z] = (keep - cut) * gz


@compiled(fastmath=True)
def _adjoint_gradient(vector: Any, inverse_steps: Any, out: Any) -> None:
    """Adjoint of the periodic forward differences, into `out`."""
    nx, ny, nz = out.shape
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                out[x, y, z] = (
                    (vector[0, x - 1, y, z] - vector[0, x, y, z]) * inverse_steps[0]
                    + (vector[1, x, y - 1, z] - vector[1, x, y, z]) * inverse_steps[1]
                    + (vector[2, x, y, z - 1] - vector[2, x, y, z]) * inverse_steps[2]
                )
