"""Susceptibility whose edges are those of the magnitude."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy import fft

from voxelome.compiled import compiled
from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.qsm.dipole import weighted_problem
from voxelome.qsm.solver import conjugate_gradients

_MOST_STEPS, _INNER_STEPS, _INNER_TOLERANCE = 10, 100, 0.01
_STEADY = 0.1  # change of the map, relative to it, at which the steps end
_ROUNDING = 5e-4  # ppm/mm: below, the length of a gradient is not told from its square
_FAR_OFF = 6.0  # standard deviations of the residual beyond which a voxel is trusted less


def morphology_enabled(
    field: Array,
    weight: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    direction: Sequence[float],
    *,
    radians: float,
    regularisation: float,
    even: MaskArray,
    outside: float = 0.01,
    threads: int = 1,
) -> FloatArray:
    """Susceptibility by morphology-enabled dipole inversion (MEDI).

    Minimises ``1/2 |W (exp(i r D chi) - exp(i r field)) / r|^2 + regularisation |v grad chi|_1`` where v is 0
    at edges of the magnitude (Liu J. et al., NeuroImage 59:2560, 2012; nonlinear: Liu T. et al., Magn Reson
    Med 69:467, 2013), by Gauss-Newton steps, each of them weighted least squares solved by conjugate
    gradients. As in the latter paper (MERIT), after each step the variance of a voxel whose residual is
    beyond 6 standard deviations is raised by the fourth power of how far it is. As in `total_variation`, v is
    small outside the mask.

    Parameters
    ----------
    field : ndarray, shape (x, y, z)
        Local field in ppm.
    weight : ndarray, shape (x, y, z)
        Trust in each voxel's field, about 0..1; taken as 0 outside the mask.
    mask : ndarray of bool, shape (x, y, z)
    spacing, direction : sequences of 3 floats
        Voxel sizes in mm; main field along the voxel axes.
    radians : float
        Phase in rad that a field of 1 ppm makes.
    regularisation : float
        ppm mm. MEDI's own lambda, which stands at the data, is its inverse but for the units.
    even : ndarray of bool, shape (x, y, z)
        Where the magnitude has no edge.
    outside : float
        Value of v outside the mask.
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
    turn = np.float32(radians)
    brain, penalty = np.zeros(shape, bool), np.full(shape, outside * regularisation, np.float32)
    brain[inner] = mask
    penalty[inner][mask] = even[mask] * np.float32(regularisation)
    inverse_steps = np.array([1 / size for size in spacing], np.float32)
    rounding = np.float32(_ROUNDING)

    def convolved(values: Array) -> Array:
        spectrum = fft.rfftn(values, workers=threads)
        spectrum *= kernel
        image: Array = fft.irfftn(spectrum, s=shape, workers=threads)
        return image

    def curvature(step: Array, trust: Array) -> Array:
        _diffuse(step, inverse_steps, stiffness, smoothed)
        return convolved(trust * convolved(step)) + smoothed

    chi, predicted = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    stiffness, smoothed = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for number in range(_MOST_STEPS):
        _stiffen(chi, inverse_steps, penalty, rounding, stiffness)
        # The first step takes the field at its word: from 0, a strong source may be whole turns away.
        away = measured if number == 0 else np.sin(turn * (measured - predicted)) / turn
        pull = convolved(trust * away)
        _diffuse(chi, inverse_steps, stiffness, smoothed)
        hessian = partial(curvature, trust=trust)
        step = conjugate_gradients(hessian, pull - smoothed, _INNER_STEPS, tolerance=_INNER_TOLERANCE)
        chi += step
        if np.linalg.norm(step) < _STEADY * np.linalg.norm(chi):
            break
        predicted = convolved(chi)
        trust = _trust_less(trust, np.abs(2 * np.sin(turn / 2 * (predicted - measured))), brain)
    return np.where(mask, chi[inner], 0).astype(np.float32)


def _trust_less(trust: Array, distance: Array, mask: MaskArray) -> Array:
    """Squared weights, less where the complex residual is far beyond what is usual in the mask."""
    residual = np.sqrt(trust) * distance
    excess = np.maximum(residual / (_FAR_OFF * residual[mask].std()), 1)
    less: Array = trust / excess**4
    return less


@compiled(fastmath=True)
def _stiffen(chi: Any, steps: Any, penalty: Any, rounding: Any, stiffness: Any) -> None:
    """Weight of each gradient's square that makes it cost its length."""
    nx, ny, nz = chi.shape
    for x in range(nx):
        x1 = x + 1 if x + 1 < nx else 0
        for y in range(ny):
            y1 = y + 1 if y + 1 < ny else 0
            for z in range(nz):
                z1 = z + 1 if z + 1 < nz else 0
                here = chi[x, y, z]
                gx = (chi[x1, y, z] - here) * steps[0]
                gy = (chi[x, y1, z] - here) * steps[1]
                gz = (chi[x, y, z1] - here) * steps[2]
                # A step over the mask's edge is one outside.
                cost = min(penalty[x, y, z], penalty[x1, y, z], penalty[x, y1, z], penalty[x, y, z1])
                stiffness[x, y, z] = cost / np.sqrt(gx * gx + gy * gy + gz * gz + rounding * rounding)


@compiled(fastmath=True)
def _diffuse(values: Any, steps: Any, stiffness: Any, out: Any) -> None:
    """Negative divergence of stiffness times gradient, periodic, into `out`."""
    nx, ny, nz = values.shape
    sx, sy, sz = steps[0] * steps[0], steps[1] * steps[1], steps[2] * steps[2]
    for x in range(nx):
        x1 = x + 1 if x + 1 < nx else 0
        for y in range(ny):
            y1 = y + 1 if y + 1 < ny else 0
            for z in range(nz):
                z1 = z + 1 if z + 1 < nz else 0
                here, stiff = values[x, y, z], stiffness[x, y, z]
                out[x, y, z] = (
                    stiff * ((here - values[x1, y, z]) * sx + (here - values[x, y1, z]) * sy)
                    + stiff * (here - values[x, y, z1]) * sz
                    + stiffness[x - 1, y, z] * (here - values[x - 1, y, z]) * sx
                    + stiffness[x, y - 1, z] * (here - values[x, y - 1, z]) * sy
                    + stiffness[x, y, z - 1] * (here - values[x, y, z - 1]) * sz
                )
