"""The dipole inversions that a user can choose, and how much each of them smooths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Array, MaskArray
from voxelome.qsm.direct import tikhonov, tkd
from voxelome.qsm.inversion import total_variation, two_steps
from voxelome.qsm.masking import edge_weights
from voxelome.qsm.medi import morphology_enabled
from voxelome.qsm.nonlinear import nonlinear_descent, steps_of
from voxelome.qsm.tgv import generalised_variation

Inversion = Literal["tv", "nltv", "medi", "tgv", "ndi", "tkd", "rts", "tikhonov"]
# What the consensus on QSM (2024) asks to report, in words.
INVERSION: dict[Inversion, str] = {
    "tv": "total variation by ADMM",
    "nltv": "nonlinear total variation (FANSI)",
    "medi": "morphology-enabled dipole inversion (MEDI)",
    "tgv": "total generalised variation (TGV)",
    "ndi": "nonlinear dipole inversion (NDI)",
    "tkd": "thresholded k-space division (TKD)",
    "rts": "rapid two-step inversion (RTS)",
    "tikhonov": "closed-form Tikhonov",
}
# Weight of what smooths: a least one, and a share of the field's standard error in ppm. Chosen on two
# simulated heads (docs/qsm.md).
_SMOOTHING: dict[Inversion, tuple[float, float]] = {
    "tv": (7.5e-5, 0.1),
    "nltv": (7.5e-5, 0.1),
    "tgv": (7.5e-5, 0.1),
    "medi": (3.75e-5, 0.05),
    "ndi": (2.5e-3, 5.0),
}
# Parameter of the inversions that have one that does not depend on the data.
_PLAIN: dict[Inversion, tuple[Callable[..., Array], str, float]] = {
    "tkd": (tkd, "threshold", 0.2),
    "rts": (two_steps, "threshold", 0.15),
    "tikhonov": (tikhonov, "regularisation", 0.02),
}
_LARGEST = 2 / 3  # size of the dipole kernel
_MOST_STEPS = 2000  # of NDI: half an hour for a head of 1 mm
_TGV_ITERATIONS = 2  # times those of total variation: the field of slopes follows more slowly


@dataclass(frozen=True)
class Chosen:
    """An inversion with its weight.

    Attributes
    ----------
    invert : callable
        Susceptibility from a local field; also takes `mask`, `spacing`, `direction` and `threads`.
    parameter : float
        Weight or threshold in the units of the function.
    words : str
        Weight or threshold, and how it was found.
    surrounded : bool
        Whether sources outside the mask take up what background removal left.
    edged : bool
        Whether it smooths less at edges, whose weights it takes as `edges`.
    """

    invert: Callable[..., Array]
    parameter: float
    words: str
    surrounded: bool
    edged: bool = False


def choose_inversion(
    method: Inversion,
    given: float | None,
    error: Array,
    weight: Array,
    signal: Array,
    mask: MaskArray,
    spacing: Sequence[float],
    *,
    iterations: int,
    radians: float,
) -> Chosen:
    """Inversion with the weight that is given, or one chosen from the field's standard error.

    Parameters
    ----------
    method : str
        Key of `INVERSION`.
    given : float or None
        Weight or threshold; of the variations in ppm a voxel.
    error, weight : ndarray, shape (x, y, z)
        Standard error of the field in ppm, and the trust in it.
    signal : ndarray, shape (x, y, z, echo)
        Magnitude.
    mask : ndarray of bool, shape (x, y, z)
    spacing : sequence of 3 floats
        Voxel sizes in mm.
    iterations : int
        Of total variation.
    radians : float
        Phase in rad that a field of 1 ppm makes.

    Raises
    ------
    DataError
        The weight or threshold that is given cannot be used.
    """
    if method in _PLAIN:
        function, name, usual = _PLAIN[method]
        value = usual if given is None else given
        if name == "threshold" and value >= _LARGEST:
            raise DataError(
                f"the threshold {value:g} of {method} is above all values of the dipole kernel",
                "choose a qsm.regularisation below 2/3, or 0",
            )
        words = f"{name} {value:g}, {'fixed' if given is None else 'given'}"
        return Chosen(partial(function, **{name: value}), value, words, surrounded=False)
    least, share = _SMOOTHING[method]
    value = least + share * float(np.median(error[mask])) if given is None else given
    how = "chosen from the field's standard error" if given is None else "given"
    invert: Callable[..., Array]
    if method == "ndi":
        if steps_of(value) > _MOST_STEPS:
            raise DataError(
                f"a regularisation of {value:g} asks for {steps_of(value)} steps of {method}",
                f"choose a qsm.regularisation of at least {1 / _MOST_STEPS:g}, or 0",
            )
        words = f"{value:.3g}: {steps_of(value)} steps, {how}"
        invert = partial(nonlinear_descent, weight=weight, radians=radians, regularisation=value)
        return Chosen(invert, value, words, surrounded=True)
    words = f"{value:.3g} ppm a voxel, {how}"
    smoothing = value * float(np.cbrt(np.prod(spacing)))
    edges = edge_weights(signal, mask, spacing)
    if method == "medi":
        invert = partial(morphology_enabled, radians=radians, even=edges == 1)
    elif method == "tgv":
        invert = partial(generalised_variation, edges=edges, iterations=_TGV_ITERATIONS * iterations)
    else:
        turn = radians if method == "nltv" else 0.0
        invert = partial(total_variation, edges=edges, iterations=iterations, radians=turn)
    invert = partial(invert, weight=weight, regularisation=smoothing)
    return Chosen(invert, smoothing, words, surrounded=True, edged=method != "medi")
