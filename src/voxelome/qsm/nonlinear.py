"""Inversion on the complex signal, whose residual does not care about whole turns of phase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import fft

from voxelome.compiled import compiled
from voxelome.imageio import Array, FloatArray, MaskArray
from voxelome.qsm.dipole import dipole_kernel, surrounded

_STEP = 2.0  # of the descent; stable below 9/2, where W D is at most 2/3
_NEWTON = 4  # steps; the fourth changes the last digit
_ENOUGH = 1e-4  # rad


def nonlinear_descent(
    field: Array,
    weight: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    direction: Sequence[float],
    *,
    radians: float,
    regularisation: float,
    threads: int = 1,
) -> FloatArray:
    """Susceptibility by nonlinear dipole inversion (NDI).

    Descends along the gradient of ``1/2 |W (exp(i r D chi) - exp(i r field)) / r|^2`` from 0, with steps of 2
    (Polak et al., NMR Biomed 33:e4271, 2020). Nothing but the number of steps n keeps noise down: of the
    spectrum it takes ``1 - (1 - 2 D^2)^n``, half of it where D^2 is about a third of ``1 / n``. The number
    follows from the regularisation as ``n = 1 / (2 regularisation)``: then both it and a Tikhonov weight of
    that size give way where D^2 is as small as it. What is not reached is a known share of the susceptibility
    and is divided out as in `tkd`. Sources outside the mask are as cheap as those in it and take up some of
    the field: the map still underestimates.

    Parameters
    ----------
    field : ndarray, shape (x, y, z)
        Local field in ppm.
    weight : ndarray, shape (x, y, z)
        Trust in each voxel's field; what is above 1 counts as 1, what is outside the mask as 0.
    mask : ndarray of bool, shape (x, y, z)
    spacing, direction : sequences of 3 floats
        Voxel sizes in mm; main field along the voxel axes.
    radians : float
        Phase in rad that a field of 1 ppm makes.
    regularisation : float
        Without unit; sets the number of steps.
    threads : int
        Threads of the Fourier transforms.

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        Susceptibility in ppm, known but for a constant; 0 outside the mask.
    """
    shape, inner = surrounded(mask.shape, spacing)
    kernel = dipole_kernel(shape, spacing, direction)
    trust = np.where(mask, np.minimum(weight, 1), 0).astype(np.float32) ** 2
    turn = np.float32(radians)
    pull = np.zeros(shape, np.float32)
    pull[inner] = trust * np.sin(turn * np.where(mask, field, 0)) / turn
    spectrum = np.zeros(kernel.shape, np.complex64)
    for number in range(steps_of(regularisation)):
        if number > 0:
            predicted = fft.irfftn(kernel * spectrum, s=shape, workers=threads)[inner]
            pull[inner] = trust * np.sin(turn * (field - predicted)) / turn
        spectrum += np.float32(_STEP) * kernel * fft.rfftn(pull, workers=threads)
    chi = fft.irfftn(spectrum, s=shape, workers=threads)[inner] / _recovered(regularisation)
    return np.where(mask, chi, 0).astype(np.float32)


def steps_of(regularisation: float) -> int:
    """Number of steps of the descent, at least one."""
    return max(1, round(1 / (_STEP * regularisation)))


def descended(kernel: Array, regularisation: float) -> Array:
    """What the descent multiplies a fully trusted field's spectrum by: ``(1 - (1 - 2 D^2)^n) / D``."""
    reached = _reached(kernel, regularisation) / _recovered(regularisation)
    inverse: Array = (reached / np.where(kernel == 0, 1, kernel)).astype(np.float32)
    return inverse


def _reached(kernel: Array, regularisation: float) -> Array:
    """Share of the susceptibility that the descent reaches where the kernel has these values."""
    reached: Array = 1 - (1 - _STEP * kernel.astype(np.float64) ** 2) ** steps_of(regularisation)
    return reached


def _recovered(regularisation: float) -> np.float32:
    """Share of the susceptibility that the descent reaches, averaged over directions."""
    cosine = (np.arange(20000) + 0.5) / 20000
    return np.float32(_reached(1 / 3 - cosine**2, regularisation).mean())


@compiled(fastmath=True)
def update_phase(
    predicted: Any, measured: Any, trust: Any, fidelity: Any, radians: Any, slack: Any, target: Any
) -> None:
    """Compromise of predicted and measured phase; `target` becomes it minus the multiplier.

    Minimises ``trust (1 - cos(r (z - measured))) / r^2 + fidelity/2 (z - shifted)^2`` by Newton's method
    (Milovic et al., Magn Reson Med 80:814, 2018, equation 11), from the linear compromise. Where the cosine
    is negative the curvature of the first part is left out, or steps would lead uphill.
    """
    p, m, t, s, out = predicted.ravel(), measured.ravel(), trust.ravel(), slack.ravel(), target.ravel()
    for i in range(p.size):
        shifted = p[i] + s[i]
        split = (t[i] * m[i] + fidelity * shifted) / (t[i] + fidelity)
        if t[i] > 0:
            for _ in range(_NEWTON):
                angle = radians * (split - m[i])
                slope = t[i] * np.sin(angle) / radians + fidelity * (split - shifted)
                step = slope / (t[i] * max(np.cos(angle), np.float32(0)) + fidelity)
                split -= step
                if abs(step) * radians < _ENOUGH:
                    break
        s[i] = shifted - split
        out[i] = split - s[i]
