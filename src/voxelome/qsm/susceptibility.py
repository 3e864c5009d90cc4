"""From a fitted field to susceptibility: background removal, inversion and its weight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, MaskArray, voxel_sizes
from voxelome.qsm.background import project_dipoles, sphere_radii, vsharp
from voxelome.qsm.dipole import field_direction, forward_field
from voxelome.qsm.direct import tikhonov, tkd
from voxelome.qsm.fieldmap import FieldFit
from voxelome.qsm.harmonic import iterative_means, laplacian_boundary_values, resharp
from voxelome.qsm.inversion import total_variation, two_steps
from voxelome.qsm.masking import edge_weights
from voxelome.qsm.uncertainty import propagated_error

# Weight of the total variation in ppm, from the field's standard error in ppm. Chosen on two simulated heads
# (docs/qsm.md); half and twice the weight changed the map's error by about one percent of the truth.
_LEAST_SMOOTHING, _SMOOTHING_OF_NOISE = 7.5e-5, 0.1
# Parameter of the inversions that have one that does not depend on the data.
_PLAIN: dict[str, tuple[Callable[..., Array], str, float]] = {
    "tkd": (tkd, "threshold", 0.2),
    "rts": (two_steps, "threshold", 0.15),
    "tikhonov": (tikhonov, "regularisation", 0.02),
}
# What the consensus on QSM (2024) asks to report, in words.
BACKGROUND = {
    "pdf": "projection onto dipole fields (PDF)",
    "vsharp": "V-SHARP",
    "resharp": "RESHARP",
    "lbv": "Laplacian boundary values (LBV)",
    "ismv": "iterative spherical means (iSMV)",
}
INVERSION = {
    "tv": "total variation",
    "tkd": "thresholded k-space division (TKD)",
    "rts": "rapid two-step inversion (RTS)",
    "tikhonov": "closed-form Tikhonov",
}
_MOST_TRUST = 1.5
# Of the second removal, which starts from the first: more changed the local field by less than 0.1 percent.
_SECOND_ITERATIONS = 100
POOR_FIT = 0.5  # rad


@dataclass(frozen=True)
class QSMSettings:
    """How to reconstruct.

    Attributes
    ----------
    background : {"pdf", "vsharp", "resharp", "lbv", "ismv"}
        Removal of the field from outside: projection onto dipole fields, spheres (two ways), Laplace's
        equation from the edge of the mask, or spheres from its rim.
    inversion : {"tv", "tkd", "rts", "tikhonov"}
        Total variation, thresholded division, that with its gaps filled, or closed-form Tikhonov.
    regularisation : float or None
        Weight of the total variation in ppm; times the voxel size (mm) it is the weight of the inversion,
        so that noise of one size a voxel is smoothed alike at every resolution. None: chosen from the
        field's standard error.
    iterations : int
        Of the total-variation inversion.
    largest_sphere : float
        Largest radius of V-SHARP in mm.
    rim : float
        Width in mm of the mask's edge that is left out of the map, at least a voxel: skull and air in its
        voxels make it unreliable.
    reference : {"brain", "csf", "none"}
        What has susceptibility 0: the mean of the mask, of the ventricles' fluid, or nothing known.
    swi : {"classic", "clear"}
        Magnitude times the fourth power of a linear phase mask, or of even brightness with a sigmoid one.
    slab : float
        Thickness in mm of the minimum-intensity projection.
    two_pass : bool
        One map without the strong sources and one with them, made into one (`twopass.map_twice`).
    separation : bool
        Paramagnetic and diamagnetic parts too, where there are 3 echoes or more.
    """

    background: Literal["pdf", "vsharp", "resharp", "lbv", "ismv"] = "pdf"
    inversion: Literal["tv", "tkd", "rts", "tikhonov"] = "tv"
    regularisation: float | None = None
    iterations: int = 15
    largest_sphere: float = 12.0
    rim: float = 1.0
    reference: Literal["brain", "csf", "none"] = "brain"
    swi: Literal["classic", "clear"] = "classic"
    slab: float = 8.0
    two_pass: bool = False
    separation: bool = False


@dataclass(frozen=True)
class Susceptibility:
    """Susceptibility and what it comes from, all of shape (x, y, z).

    Attributes
    ----------
    chi, chi_error : ndarray
        ppm, known but for a constant, and its standard error.
    local_field : ndarray
        Field of the sources in the mask in ppm.
    mask : ndarray of bool
        Where they are known.
    parameters : dict
        What was chosen, in words.
    """

    chi: Array
    chi_error: Array
    local_field: Array
    mask: MaskArray
    parameters: dict[str, str]


def map_susceptibility(
    total: Array,
    error: Array,
    fit: FieldFit,
    signal: Array,
    mask: MaskArray,
    affine: Affine,
    settings: QSMSettings,
    *,
    threads: int = 1,
) -> Susceptibility:
    """Susceptibility from the total field.

    Parameters
    ----------
    total, error : ndarray, shape (x, y, z)
        Field in ppm and its standard error.
    fit : FieldFit
        How the field was fitted: it says which voxels to trust.
    signal : ndarray, shape (x, y, z, echo)
        Magnitude, whose edges the map may have too.
    mask : ndarray of bool, shape (x, y, z)
    affine : ndarray, shape (4, 4)
    settings : QSMSettings
    threads : int
        Threads of the Fourier transforms.

    Raises
    ------
    DataError
        The mask is too thin for the method.
    """
    spacing, direction = voxel_sizes(affine), field_direction(affine)
    weight = _trust(fit, mask)
    local, kept = _remove_background(total, weight, mask, affine, settings, threads)
    parameters = {
        "background removal": BACKGROUND[settings.background],
        "dipole inversion": INVERSION[settings.inversion],
    }
    if settings.inversion == "tv":
        chosen = settings.regularisation
        if chosen is None:
            chosen = _LEAST_SMOOTHING + _SMOOTHING_OF_NOISE * float(np.median(error[kept]))
        how = "given" if settings.regularisation is not None else "chosen from the field's standard error"
        parameters["regularisation"] = f"{chosen:.3g} ppm a voxel, {how}"
        smoothing = chosen * float(np.cbrt(np.prod(spacing)))
        invert: Callable[..., Array] = partial(
            total_variation,
            weight=weight,
            regularisation=smoothing,
            edges=edge_weights(signal, kept, spacing),
            iterations=settings.iterations,
        )
    else:
        method, name, smoothing = _PLAIN[settings.inversion]
        parameters["regularisation"] = f"{name} {smoothing:g}, fixed"
        invert = partial(method, **{name: smoothing})
    where: dict[str, Any] = {"mask": kept, "spacing": spacing, "direction": direction, "threads": threads}
    chi = invert(local, **where)
    if settings.background == "pdf" and settings.inversion == "tv":
        local = _set_aside(chi, local, total, kept, affine, threads)
        parameters["second background removal"] = (
            f"{BACKGROUND['lbv']} of what the first map does not explain"
        )
        # The inversion is where memory peaks: nothing that is done with is kept through it.
        del chi
        chi = invert(local, **where)
    spread = propagated_error(error, kept, spacing, direction, settings.inversion, smoothing, threads=threads)
    return Susceptibility(chi, spread, local, kept, parameters)


def _trust(fit: FieldFit, mask: MaskArray) -> Array:
    """Trust in each voxel's field: its precision, and less where no line fits the phase (flow, wraps)."""
    weight: Array = fit.weight / np.median(fit.weight[mask]) / (1 + (fit.residual / POOR_FIT) ** 2)
    trust: Array = np.minimum(weight, _MOST_TRUST).astype(np.float32)
    return trust


def _set_aside(
    chi: Array, local: Array, total: Array, mask: MaskArray, affine: Affine, threads: int
) -> Array:
    """Local field after a second removal that cannot take what a first map explains.

    Background removal takes some of the brain's own field with it; the field of the map is set aside. What
    is left hardly has sources in the mask, so its values at the edge say what the background is inside.
    """
    spacing = voxel_sizes(affine)
    own = forward_field(chi, spacing, field_direction(affine), threads=threads)
    left, _ = laplacian_boundary_values(
        total - own, mask, spacing, start=total - local, iterations=_SECOND_ITERATIONS, tolerance=0.0
    )
    return np.where(mask, own + left, 0).astype(np.float32)


def _remove_background(
    total: Array, weight: Array, mask: MaskArray, affine: Affine, settings: QSMSettings, threads: int
) -> tuple[Array, MaskArray]:
    """Local field, and where it is known.

    Raises
    ------
    DataError
        The mask is too thin for the method.
    """
    spacing = voxel_sizes(affine)
    if settings.background == "pdf":
        direction = field_direction(affine)
        trust = np.minimum(weight, 1)
        return project_dipoles(total, mask, spacing, direction, weight=trust, threads=threads), mask
    if settings.background == "vsharp":
        radii = sphere_radii(spacing, settings.largest_sphere)
        local, kept = vsharp(total, mask, spacing, radii, threads=threads)
    elif settings.background == "resharp":
        local, kept = resharp(total, mask, spacing, threads=threads)
    elif settings.background == "ismv":
        local, kept = iterative_means(total, mask, spacing, threads=threads)
    else:
        local, kept = laplacian_boundary_values(total, mask, spacing)
    if not kept.any():
        raise DataError(
            f"the mask of {int(mask.sum())} voxels has no inside that {settings.background} could use",
            "check the brain mask, acquire a larger field of view, or choose pdf",
        )
    return local, kept
