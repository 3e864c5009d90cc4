"""Susceptibility from the local field, with little total variation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import fft

from voxelome.compiled import compiled
from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.qsm.dipole import dipole_kernel, squared_frequencies, surrounded, weighted_problem
from voxelome.qsm.nonlinear import update_phase

# Weight of the squared distance from the split gradient, in units of the regularisation.
PENALTY = 100
_TWO_STEP_SHRINKAGE = 0.01  # ppm/mm


def two_steps(
    field: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    direction: Sequence[float],
    *,
    threshold: float,
    iterations: int = 20,
    threads: int = 1,
) -> FloatArray:
    """Susceptibility by rapid two-step inversion (RTS).

    Where the dipole kernel is above the threshold, the field is divided by it; the rest of k-space is
    filled so that the total variation is least, by the alternating direction method of multipliers
    (Kames et al., NeuroImage 167:276, 2018).

    Parameters
    ----------
    field : ndarray, shape (x, y, z)
        Local field in ppm.
    mask : ndarray of bool, shape (x, y, z)
    spacing, direction : sequences of 3 floats
        Voxel sizes in mm; main field along the voxel axes.
    threshold : float
        Between 0 and 2/3.
    iterations : int
        Of the second step.
    threads : int
        Threads of the Fourier transforms.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        Susceptibility in ppm, known but for a constant; 0 outside the mask.
    """
    shape, inner = surrounded(mask.shape, spacing)
    kernel = dipole_kernel(shape, spacing, direction)
    wide = np.zeros(shape, np.float32)
    wide[inner] = np.where(mask, field, 0)
    known = (np.abs(kernel) > threshold).astype(np.float32)
    divided = fft.rfftn(wide, workers=threads) * (known / np.where(known > 0, kernel, 1))
    smoothness, fidelity = np.float32(1e-4), np.float32(1.0)
    system = linear_system(fidelity * known, smoothness, spacing, shape)
    shrinkage = np.full(shape, _TWO_STEP_SHRINKAGE, np.float32)
    inverse_steps = np.array([1 / size for size in spacing], np.float32)
    slack = np.zeros((3, *shape), np.float32)
    ratio, divergence = (np.zeros(shape, np.float32) for _ in range(2))
    for _ in range(iterations):
        spectrum = fidelity * divided + smoothness * fft.rfftn(divergence, workers=threads)
        spectrum /= system
        spectrum[0, 0, 0] = 0
        chi = fft.irfftn(spectrum, s=shape, workers=threads)
        _update_gradient(chi, inverse_steps, shrinkage, slack, ratio)
        _scaled_adjoint(slack, ratio, inverse_steps, divergence)
    return np.where(mask, chi[inner], 0).astype(np.float32)


def total_variation(
    field: Array,
    weight: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    direction: Sequence[float],
    *,
    regularisation: float,
    iterations: int = 15,
    edges: Array | None = None,
    outside: float = 0.01,
    radians: float = 0.0,
    threads: int = 1,
) -> FloatArray:
    """Susceptibility that fits the local field and has little total variation.

    Minimises ``1/2 |W (D chi - field)|^2 + regularisation * |v grad chi|_1`` by the alternating direction
    method of multipliers, with both ``D chi`` and ``grad chi`` split off, so that every step is closed
    (Bilgic et al., Magn Reson Med 72:1444, 2014; Milovic et al., FANSI, Magn Reson Med 80:814, 2018).

    ``chi`` lives on a grid that is larger than the mask, and outside of it ``v`` is small. There it costs
    nearly nothing: what background removal left behind, or took away too much, is explained by sources
    outside and not forced into the brain, as in total field inversion (Liu et al., Magn Reson Med
    78:303, 2017) and inversions with a weak harmonic field (Milovic et al., ibid. 81:1399, 2019).

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
        Of the method; after some 15 the map no longer gets better.
    edges : ndarray, shape (x, y, z), optional
        Value of v in the mask, above 0 and up to 1: less where there are edges. 1 if not given.
    outside : float
        Value of v outside the mask; 1 treats all places alike.
    radians : float
        Phase in rad that a field of 1 ppm makes. Where it is not 0, the residual is that of the complex
        signal, ``(exp(i r D chi) - exp(i r field)) / r``: whole turns between both cost nothing (FANSI).
    threads : int
        Threads of the Fourier transforms.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        Susceptibility in ppm, known but for a constant; 0 outside the mask.
    """
    problem = weighted_problem(field, weight, mask, spacing, direction)
    shape, inner, kernel = problem.shape, problem.inner, problem.kernel
    trust, measured = problem.trust, problem.measured
    fidelity, smoothness = np.float32(1.0), np.float32(PENALTY * regularisation)
    system = linear_system(fidelity * kernel**2, smoothness, spacing, shape)
    shrinkage = np.full(shape, outside * regularisation / smoothness, np.float32)
    within = np.float32(1) if edges is None else edges[mask]
    shrinkage[inner][mask] = within * np.float32(regularisation / smoothness)
    inverse_steps = np.array([1 / size for size in spacing], np.float32)
    slack = np.zeros((3, *shape), np.float32)
    ratio = np.zeros(shape, np.float32)
    # Starts from the field itself: exact where trusted, and 0 elsewhere.
    field_target = measured * (trust > 0)
    field_slack = np.zeros(shape, np.float32)
    divergence = np.zeros(shape, np.float32)
    chi = np.zeros(shape, np.float32)
    for number in range(iterations):
        spectrum = fidelity * kernel * fft.rfftn(field_target, workers=threads)
        spectrum += smoothness * fft.rfftn(divergence, workers=threads)
        spectrum /= system
        spectrum[0, 0, 0] = 0
        chi = fft.irfftn(spectrum, s=shape, workers=threads)
        if number == iterations - 1:
            break
        spectrum *= kernel
        predicted = fft.irfftn(spectrum, s=shape, workers=threads)
        if radians:
            turn = np.float32(radians)
            update_phase(predicted, measured, trust, fidelity, turn, field_slack, field_target)
        else:
            update_field(predicted, measured, trust, fidelity, field_slack, field_target)
        _update_gradient(chi, inverse_steps, shrinkage, slack, ratio)
        _scaled_adjoint(slack, ratio, inverse_steps, divergence)
    return np.where(mask, chi[inner], 0).astype(np.float32)


def linear_response(
    kernel: Array, shape: Sequence[int], spacing: Sequence[float], regularisation: float
) -> Array:
    """What `total_variation` multiplies a field's spectrum by before it smooths anything."""
    smoothness = np.float32(PENALTY * regularisation)
    response: Array = kernel / linear_system(kernel**2, smoothness, spacing, shape)
    return response


def linear_system(fidelity: Array, smoothness: Any, spacing: Sequence[float], shape: Sequence[int]) -> Array:
    """Spectrum of the linear system of each iteration; the mean, which nothing tells, is kept out of it."""
    system: Array = fidelity + smoothness * squared_frequencies(shape, spacing)
    system[0, 0, 0] = 1.0
    return system


@compiled(fastmath=True)
def update_field(predicted: Any, measured: Any, trust: Any, fidelity: Any, slack: Any, target: Any) -> None:
    """Weighted compromise of predicted and measured field; `target` becomes it minus the multiplier."""
    p, m, t, s, out = predicted.ravel(), measured.ravel(), trust.ravel(), slack.ravel(), target.ravel()
    for i in range(p.size):
        shifted = p[i] + s[i]
        split = (t[i] * m[i] + fidelity * shifted) / (t[i] + fidelity)
        s[i] = shifted - split
        out[i] = split - s[i]


@compiled(fastmath=True)
def _update_gradient(chi: Any, inverse_steps: Any, shrinkage: Any, slack: Any, ratio: Any) -> None:
    """Shrink the gradient's length; the shrunk gradient minus the multiplier becomes `ratio` times `slack`.

    Both point the same way, so that one number a voxel tells the one from the other.
    """
    nx, ny, nz = chi.shape
    for x in range(nx):
        x1 = x + 1 if x + 1 < nx else 0
        for y in range(ny):
            y1 = y + 1 if y + 1 < ny else 0
            for z in range(nz):
                z1 = z + 1 if z + 1 < nz else 0
                here = chi[x, y, z]
                # A step over the mask's edge is one outside.
                least = min(shrinkage[x, y, z], shrinkage[x1, y, z], shrinkage[x, y1, z], shrinkage[x, y, z1])
                gx = (chi[x1, y, z] - here) * inverse_steps[0] + slack[0, x, y, z]
                gy = (chi[x, y1, z] - here) * inverse_steps[1] + slack[1, x, y, z]
                gz = (chi[x, y, z1] - here) * inverse_steps[2] + slack[2, x, y, z]
                length = np.sqrt(gx * gx + gy * gy + gz * gz)
                cut = least / length if length > least else np.float32(1)
                slack[0, x, y, z] = cut * gx
                slack[1, x, y, z] = cut * gy
                slack[2, x, y, z] = cut * gz
                ratio[x, y, z] = np.float32(1) / cut - np.float32(2)


@compiled(fastmath=True)
def _scaled_adjoint(vector: Any, scale: Any, inverse_steps: Any, out: Any) -> None:
    """Adjoint of the periodic forward differences of `scale` times `vector`, into `out`."""
    nx, ny, nz = out.shape
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                here = scale[x, y, z]
                out[x, y, z] = (
                    (vector[0, x - 1, y, z] * scale[x - 1, y, z] - vector[0, x, y, z] * here)
                    * inverse_steps[0]
                    + (vector[1, x, y - 1, z] * scale[x, y - 1, z] - vector[1, x, y, z] * here)
                    * inverse_steps[1]
                    + (vector[2, x, y, z - 1] * scale[x, y, z - 1] - vector[2, x, y, z] * here)
                    * inverse_steps[2]
                )
