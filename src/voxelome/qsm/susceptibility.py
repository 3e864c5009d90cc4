"""From a fitted field to susceptibility: background removal, inversion and its weight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, MaskArray, voxel_sizes
from voxelome.qsm.background import project_dipoles, sphere_radii, vsharp
from voxelome.qsm.dipole import field_direction, forward_field
from voxelome.qsm.fieldmap import EchoFit, FieldFit, Unwrapping
from voxelome.qsm.harmonic import iterative_means, laplacian_boundary_values, resharp
from voxelome.qsm.masking import map_edge_weights
from voxelome.qsm.methods import INVERSION, Inversion, choose_inversion
from voxelome.qsm.relaxometry import Relaxometry
from voxelome.qsm.uncertainty import propagated_error

# What the consensus on QSM (2024) asks to report, in words.
BACKGROUND = {
    "pdf": "projection onto dipole fields (PDF)",
    "vsharp": "V-SHARP",
    "resharp": "RESHARP",
    "lbv": "Laplacian boundary values (LBV)",
    "ismv": "iterative spherical means (iSMV)",
}
_MOST_TRUST = 1.5
# Of the second removal, which starts from the first: more changed the local field by less than 0.1 percent.
_SECOND_ITERATIONS = 100
POOR_FIT = 0.5  # rad
_TYPICAL_PHASE = 6.4  # rad/ppm: 3 T and 8 ms


@dataclass(frozen=True)
class QSMSettings:
    """How to reconstruct.

    Attributes
    ----------
    background : {"pdf", "vsharp", "resharp", "lbv", "ismv"}
        Removal of the field from outside: projection onto dipole fields, spheres (two ways), Laplace's
        equation from the edge of the mask, or spheres from its rim.
    inversion : {"tv", "nltv", "medi", "tgv", "ndi", "tkd", "rts", "tikhonov"}
        Total variation, that of the complex signal, with the magnitude's edges alone, or generalised; descent
        on the complex signal; thresholded division, that with its gaps filled, or closed-form Tikhonov.
    regularisation : float or None
        Of the variations (tv, nltv, medi, tgv) the weight in ppm; times the voxel size (mm) it is the weight
        of the inversion, so that noise of one size a voxel is smoothed alike at every resolution. Of ndi and
        tikhonov the weight, of tkd and rts the threshold. None: chosen from the field's standard error, or
        the usual one.
    iterations : int
        Of the total-variation inversions; generalised variation does twice as many.
    largest_sphere : float
        Largest radius of V-SHARP in mm.
    rim : float
        Width in mm of the mask's edge that is left out of the map, at least a voxel: skull and air in its
        voxels make it unreliable.
    reference : {"brain", "csf", "none"}
        What has susceptibility 0: the mean of the mask, of the ventricles' fluid, or nothing known.
    shading : {"fluid", "none"}
        What takes smooth shading out of the map: the fluid, whose susceptibility is one
        (`shading.shading_of`), where there are two echoes or more; or nothing.
    swi : {"classic", "clear"}
        Magnitude times the fourth power of a linear phase mask, or of even brightness with a sigmoid one.
    slab : float
        Thickness in mm of the minimum-intensity projection.
    unwrapping, field_fit
        As `unwrapping` and `method` of :func:`voxelome.qsm.fieldmap.fit_field`.
    relaxometry
        As `method` of :func:`voxelome.qsm.relaxometry.fit_r2star`.
    two_pass : bool
        One map without the strong sources and one with them, made into one (`twopass.map_twice`).
    separation : bool
        Paramagnetic and diamagnetic parts too, where there are 3 echoes or more.
    """

    background: Literal["pdf", "vsharp", "resharp", "lbv", "ismv"] = "pdf"
    inversion: Inversion = "tv"
    regularisation: float | None = None
    iterations: int = 15
    largest_sphere: float = 12.0
    rim: float = 1.0
    reference: Literal["brain", "csf", "none"] = "brain"
    shading: Literal["fluid", "none"] = "fluid"
    swi: Literal["classic", "clear"] = "classic"
    slab: float = 8.0
    unwrapping: Unwrapping = "romeo"
    field_fit: EchoFit = "linear"
    relaxometry: Relaxometry = "linear"
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
    radians: float = _TYPICAL_PHASE,
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
    radians : float
        Phase in rad that 1 ppm makes between two echoes: for the nonlinear inversions.
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
    chosen = choose_inversion(
        settings.inversion,
        settings.regularisation,
        error,
        weight,
        signal,
        kept,
        spacing,
        iterations=settings.iterations,
        radians=radians,
    )
    parameters["regularisation"] = chosen.words
    where: dict[str, Any] = {"mask": kept, "spacing": spacing, "direction": direction, "threads": threads}
    chi = chosen.invert(local, **where)
    if settings.background == "pdf" and chosen.surrounded:
        local = _set_aside(chi, local, total, kept, affine, threads)
        parameters["second background removal"] = (
            f"{BACKGROUND['lbv']} of what the first map does not explain"
        )
        if chosen.edged:
            edges = map_edge_weights(chi, kept)
            chosen = replace(chosen, invert=partial(chosen.invert, edges=edges))
            parameters["second dipole inversion"] = "the same, reweighted by the edges of the first map"
        # The inversion is where memory peaks: nothing that is done with is kept through it.
        del chi
        chi = chosen.invert(local, **where)
    spread = propagated_error(
        error, kept, spacing, direction, settings.inversion, chosen.parameter, threads=threads
    )
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
