"""Susceptibility from the local field, with little total generalised variation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import fft

from voxelome.compiled import compiled
from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.qsm.dipole import weighted_problem
from voxelome.qsm.inversion import PENALTY, linear_system, update_field

_CURVATURE = 2.0  # weight of the second derivative over that of the first, in voxels (Bredies et al., ibid.)


def generalised_variation(
    field: Array,
    weight: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    direction: Sequence[float],
    *,
    regularisation: float,
    iterations: int = 30,
    edges: Array | None = None,
    outside: float = 0.01,
    threads: int = 1,
) -> FloatArray:
    """Susceptibility that fits the local field and whose slopes change little.

    Minimises ``1/2 |W (D chi - field)|^2 + a1 |v (grad chi - w)|_1 + a0 |v E w|_1`` over chi and the vector
    field w, with E the symmetrised derivative: total generalised variation of second order (Bredies, Kunisch
    and Pock, SIAM J Imaging Sci 3:492, 2010), as for susceptibility by Langkammer et al. (NeuroImage
    111:622, 2015), with ``a0 = 2 a1``. A ramp costs nothing, and so is not made a staircase.

    Alternating directions as in `total_variation`: chi in k-space, w by one linearised step an iteration. As
    there, v is small outside the mask.

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
        a1 in ppm mm.
    iterations : int
    edges : ndarray, shape (x, y, z), optional
        Value of v in the mask, 0..1: less where the magnitude has an edge. 1 if not given.
    outside : float
        Value of v outside the mask; 1 treats all places alike.
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
    shrinkage = np.full(shape, outside / PENALTY, np.float32)
    shrinkage[inner][mask] = (np.float32(1) if edges is None else edges[mask]) / np.float32(PENALTY)
    inverse_steps = np.array([1 / size for size in spacing], np.float32)
    curvature = np.float32(_CURVATURE * np.cbrt(np.prod(spacing)))
    # Of the operator E: at most 4 / size^2 from each axis.
    length = np.float32(1 / (1 + 4 * (inverse_steps**2).sum() * curvature**2))
    slack, target, smooth = (np.zeros((3, *shape), np.float32) for _ in range(3))
    bend_slack, bend = (np.zeros((6, *shape), np.float32) for _ in range(2))
    field_target, field_slack = measured * (trust > 0), np.zeros(shape, np.float32)
    divergence, chi = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
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
        update_field(predicted, measured, trust, fidelity, field_slack, field_target)
        _update_residual(chi, smooth, inverse_steps, shrinkage, slack, target)
        _update_bend(smooth, inverse_steps * curvature, shrinkage, bend_slack, bend)
        _update_smooth(chi, bend, inverse_steps, curvature, length, smooth, target)
        _adjoint_gradient(target, inverse_steps, divergence)
    return np.where(mask, chi[inner], 0).astype(np.float32)


@compiled(fastmath=True)
def _update_residual(chi: Any, smooth: Any, steps: Any, shrinkage: Any, slack: Any, target: Any) -> None:
    """Shrink what the gradient has beyond its smooth part; `target` becomes that minus the multiplier."""
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
                gx = (chi[x1, y, z] - here) * steps[0] - smooth[0, x, y, z] + slack[0, x, y, z]
                gy = (chi[x, y1, z] - here) * steps[1] - smooth[1, x, y, z] + slack[1, x, y, z]
                gz = (chi[x, y, z1] - here) * steps[2] - smooth[2, x, y, z] + slack[2, x, y, z]
                length = np.sqrt(gx * gx + gy * gy + gz * gz)
                keep = (length - least) / length if length > least else np.float32(0)
                cut = np.float32(1) - keep
                for axis, part in enumerate((gx, gy, gz)):
                    slack[axis, x, y, z] = cut * part
                    target[axis, x, y, z] = (keep - cut) * part


@compiled(fastmath=True)
def _update_bend(smooth: Any, steps: Any, shrinkage: Any, slack: Any, residual: Any) -> None:
    """Shrink the symmetrised backward derivative of `smooth`; `residual`: that, less shrunk, plus multiplier.

    Components are xx, yy, zz, xy, xz, yz; the last three count twice.
    """
    nx, ny, nz = shrinkage.shape
    half = np.float32(0.5)
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                u, v, w = smooth[0, x, y, z], smooth[1, x, y, z], smooth[2, x, y, z]
                vx, wx = v - smooth[1, x - 1, y, z], w - smooth[2, x - 1, y, z]
                uy, wy = u - smooth[0, x, y - 1, z], w - smooth[2, x, y - 1, z]
                uz, vz = u - smooth[0, x, y, z - 1], v - smooth[1, x, y, z - 1]
                bend = (
                    (u - smooth[0, x - 1, y, z]) * steps[0],
                    (v - smooth[1, x, y - 1, z]) * steps[1],
                    (w - smooth[2, x, y, z - 1]) * steps[2],
                    half * (uy * steps[1] + vx * steps[0]),
                    half * (uz * steps[2] + wx * steps[0]),
                    half * (vz * steps[2] + wy * steps[1]),
                )
                squared = np.float32(0)
                for part in range(6):
                    value = bend[part] + slack[part, x, y, z]
                    squared += value * value if part < 3 else value * value * np.float32(2)
                length = np.sqrt(squared)
                least = min(
                    shrinkage[x, y, z], shrinkage[x - 1, y, z], shrinkage[x, y - 1, z], shrinkage[x, y, z - 1]
                )
                keep = (length - least) / length if length > least else np.float32(0)
                cut = np.float32(1) - keep
                for part in range(6):
                    value = bend[part] + slack[part, x, y, z]
                    slack[part, x, y, z] = cut * value
                    residual[part, x, y, z] = bend[part] - (keep - cut) * value


@compiled(fastmath=True)
def _update_smooth(
    chi: Any, bend: Any, steps: Any, curvature: Any, length: Any, smooth: Any, target: Any
) -> None:
    """One descent of the smooth part of the gradient, which is then added to `target`."""
    nx, ny, nz = chi.shape
    for x in range(nx):
        x1 = x + 1 if x + 1 < nx else 0
        for y in range(ny):
            y1 = y + 1 if y + 1 < ny else 0
            for z in range(nz):
                z1 = z + 1 if z + 1 < nz else 0
                here = chi[x, y, z]
                ahead = (chi[x1, y, z] - here, chi[x, y1, z] - here, chi[x, y, z1] - here)
                for axis in range(3):
                    # Where the components that hold this axis and x, y, z lie.
                    i = 0 if axis == 0 else axis + 2
                    j = 1 if axis == 1 else (3 if axis == 0 else 5)
                    k = 2 if axis == 2 else axis + 4
                    back = (
                        (bend[i, x, y, z] - bend[i, x1, y, z]) * steps[0]
                        + (bend[j, x, y, z] - bend[j, x, y1, z]) * steps[1]
                        + (bend[k, x, y, z] - bend[k, x, y, z1]) * steps[2]
                    )
                    slope = smooth[axis, x, y, z] + target[axis, x, y, z] - ahead[axis] * steps[axis]
                    smooth[axis, x, y, z] -= length * (slope + curvature * back)
                    target[axis, x, y, z] += smooth[axis, x, y, z]


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
