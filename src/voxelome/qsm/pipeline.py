"""From magnitude and phase of a gradient-echo acquisition to its maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, MaskArray, voxel_sizes
from voxelome.qsm.assessment import assess, notes_on, spatial_interval
from voxelome.qsm.fieldmap import GYROMAGNETIC_RATIO, fit_field, to_hertz, to_ppm
from voxelome.qsm.masking import fluid_mask, inner_mask, trusted_mask
from voxelome.qsm.relaxometry import Relaxometry, fit_r2star
from voxelome.qsm.separation import FEWEST_ECHOES, relaxometric_constant, separate_sources
from voxelome.qsm.shading import shading_of
from voxelome.qsm.susceptibility import POOR_FIT, QSMSettings, Susceptibility, map_susceptibility
from voxelome.qsm.swi import WEIGHTING, clear_swi, combine_echoes, minip, swi
from voxelome.qsm.twopass import map_twice, reliable_mask

# Of the shading in the parameters, with the reason behind it where it was to be taken out.
LEFT_IN = "left in"


@dataclass(frozen=True)
class QSMResult:
    """Maps of one acquisition, all of shape (x, y, z) and float32.

    Attributes
    ----------
    chi : ndarray
        Susceptibility in ppm against the reference; 0 outside `mask`.
    chi_error : ndarray
        Standard error in ppm that the noise of the phase causes, as far as it is known.
    r2star, t2star, s0 : ndarray or None
        1/s, s, and the magnitude's unit; None with one echo.
    swi, minip : ndarray
        Susceptibility-weighted image and its minimum-intensity projection, in the magnitude's unit.
    sources : pair of ndarray or None
        Paramagnetic and diamagnetic part of `chi`, where they were asked for and there are 3 echoes or more.
    field_ppm, local_field_ppm : ndarray
        Field shift before and after removal of the background.
    frequency, frequency_error : ndarray
        The field shift before in Hz, and its standard error that the noise causes.
    phase_residual : ndarray
        Root mean square of measured minus fitted phase in rad.
    mask : ndarray of bool
        Where `chi` is known.
    quality : dict
        Numbers that say whether to trust the maps.
    parameters : dict
        What was chosen or found on the way, as words.
    notes : list of str
        Warnings, as sentences.
    """

    chi: Array
    chi_error: Array
    r2star: Array | None
    t2star: Array | None
    s0: Array | None
    swi: Array
    minip: Array
    sources: tuple[Array, Array] | None
    field_ppm: Array
    local_field_ppm: Array
    frequency: Array
    frequency_error: Array
    phase_residual: Array
    mask: MaskArray
    quality: dict[str, float]
    parameters: dict[str, str]
    notes: list[str] = field(default_factory=list)


def reconstruct(
    magnitude: Array,
    phase: Array,
    echo_times: Sequence[float],
    field_strength: float,
    affine: Affine,
    mask: MaskArray,
    settings: QSMSettings,
    *,
    threads: int = 1,
) -> QSMResult:
    """Susceptibility, R2*, SWI and the fields that they come from.

    Parameters
    ----------
    magnitude, phase : ndarray, shape (x, y, z, echo)
        Phase in rad, wrapped, positive where the field is raised.
    echo_times : sequence of float
        s, increasing.
    field_strength : float
        T.
    affine : ndarray, shape (4, 4)
        Voxel indices to scanner coordinates: it tells where the main field points.
    mask : ndarray of bool, shape (x, y, z)
        Brain, or all tissue.
    settings : QSMSettings
    threads : int
        Threads of the Fourier transforms.

    Raises
    ------
    DataError
        Shapes, echo times, field strength or mask cannot be used.
    """
    _check(magnitude, echo_times, mask)
    if phase.shape != magnitude.shape:
        raise DataError(
            f"magnitude has shape {magnitude.shape} and phase {phase.shape}",
            "give one phase image for each magnitude image, on the same grid",
        )
    if not field_strength > 0:
        raise DataError(
            "there is no MagneticFieldStrength", "add MagneticFieldStrength in T to the JSON file"
        )
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    inside, signal = mask[box], magnitude[box]
    spacing = voxel_sizes(affine)
    trusted = trusted_mask(inside, signal[..., -1])
    fit = fit_field(
        phase[box],
        signal,
        echo_times,
        trusted,
        spacing,
        unwrapping=settings.unwrapping,
        method=settings.field_fit,
        threads=threads,
    )
    total, error = (to_ppm(part, field_strength) for part in (fit.field, fit.standard_error))
    # A turn too many between two echoes is one in the field: the nonlinear inversions then do not see it.
    radians = spatial_interval(echo_times) / float(to_ppm(np.ones(()), field_strength))

    def one_pass(where: MaskArray) -> Susceptibility:
        return map_susceptibility(
            total, error, fit, signal, where, affine, settings, radians=radians, threads=threads
        )

    if settings.two_pass:
        found = map_twice(
            one_pass, trusted, reliable_mask(trusted, signal[..., -1], fit.residual <= POOR_FIT)
        )
    else:
        found = one_pass(trusted)
    chi, local, kept, parameters = found.chi, found.local_field, found.mask, found.parameters
    kept = inner_mask(kept, spacing, settings.rim) if settings.background == "pdf" else kept
    relaxation: tuple[Array, Array, Array] | tuple[None, None, None] = (None, None, None)
    if len(echo_times) > 1:
        relaxation = fit_r2star(signal, echo_times, trusted, settings.relaxometry)
    chi, parameters["shading"] = _without_shading(chi, relaxation[0], kept, spacing, settings)
    chi, reference, notes = _referenced(chi, relaxation[0], kept, spacing, settings)
    parameters["reference"] = reference
    sources = None
    if settings.separation and relaxation[0] is not None and len(echo_times) >= FEWEST_ECHOES:
        sources = separate_sources(chi, relaxation[0], kept, field_strength)
        rate = relaxometric_constant(field_strength)
        parameters["source separation"] = f"R2*-QSM, {rate:.0f} 1/s a ppm for both kinds of source"
    late = np.float32(2e-6 * np.pi * GYROMAGNETIC_RATIO * field_strength * max(echo_times))
    if settings.swi == "clear":
        weighted = clear_swi(signal, local * late, inside, spacing)
    else:
        weighted = swi(combine_echoes(signal, echo_times), local * late, inside)
    parameters["susceptibility weighting"] = WEIGHTING[settings.swi]
    quality = assess(fit, echo_times, trusted, kept, chi, affine, threads=threads)
    quality["mask_without_signal_fraction"] = 1 - float(trusted.sum()) / float(inside.sum())
    quality["signal_to_noise"] = float(np.median(signal[..., 0][trusted])) / max(fit.noise, 1e-12)
    quality["field_standard_error_ppb"] = 1e3 * float(np.median(error[kept]))
    quality["chi_standard_error_ppb"] = 1e3 * float(np.median(found.chi_error[kept]))
    if fit.bipolar:
        parameters["bipolar readout"] = f"even echoes corrected by up to {fit.bipolar:.2f} rad"
    projection = minip(weighted, inside, affine, settings.slab)
    r2star, t2star, s0 = (None if part is None else _uncrop(part, mask, box) for part in relaxation)
    return QSMResult(
        chi=_uncrop(chi, mask, box),
        chi_error=_uncrop(np.where(kept, found.chi_error, 0), mask, box),
        r2star=r2star,
        t2star=t2star,
        s0=s0,
        swi=_uncrop(weighted, mask, box),
        minip=_uncrop(projection, mask, box),
        sources=sources and (_uncrop(sources[0], mask, box), _uncrop(sources[1], mask, box)),
        field_ppm=_uncrop(total, mask, box),
        local_field_ppm=_uncrop(local, mask, box),
        frequency=_uncrop(to_hertz(fit.field), mask, box),
        frequency_error=_uncrop(to_hertz(fit.standard_error), mask, box),
        phase_residual=_uncrop(fit.residual, mask, box),
        mask=_uncrop(kept, mask, box),
        quality=quality,
        parameters=parameters,
        notes=notes + notes_on(quality, chi, relaxation[0], kept),
    )


def reconstruct_magnitude_only(
    magnitude: Array, echo_times: Sequence[float], mask: MaskArray, method: Relaxometry = "linear"
) -> tuple[Array, Array, Array]:
    """R2* (1/s), T2* (s) and S0 of an acquisition without phase; see `fit_r2star`.

    Raises
    ------
    DataError
        Shapes, echo times or mask cannot be used, or there are too few echoes.
    """
    _check(magnitude, echo_times, mask)
    if len(echo_times) < 2:
        raise DataError("R2* needs at least two echoes and there is one", "leave this acquisition out")
    return fit_r2star(magnitude, echo_times, mask, method)


def _check(magnitude: Array, echo_times: Sequence[float], mask: MaskArray) -> None:
    """Raise DataError where shapes, echo times or mask cannot be used."""
    if magnitude.ndim != 4 or magnitude.shape[:3] != mask.shape:
        raise DataError(
            f"the magnitude has shape {magnitude.shape} and the mask {mask.shape}",
            "give a mask on the grid of the gradient-echo images",
        )
    times = np.asarray(echo_times, dtype=float)
    if len(times) != magnitude.shape[3]:
        raise DataError(
            f"there are {magnitude.shape[3]} echoes and {len(times)} echo times",
            "add EchoTime to the JSON file of each echo",
        )
    if not (np.all(times > 0) and np.all(np.diff(times) > 0)):
        raise DataError(
            f"the echo times {', '.join(f'{time:g}' for time in times)} s do not increase from above 0",
            "correct EchoTime in the JSON files; the echo numbers must follow it",
        )
    if times[-1] > 1:
        raise DataError(
            f"the last echo time is {times[-1]:g} s", "give EchoTime in seconds, not in milliseconds"
        )
    if not mask.any():
        raise DataError("the mask is empty", "check the brain mask and its registration to the gradient echo")
    if not np.median(magnitude[mask][:, 0]) > 0:
        raise DataError(
            "more than half of the mask has no signal",
            "check the brain mask and its registration to the gradient echo",
        )


def _without_shading(
    chi: Array, r2star: Array | None, kept: MaskArray, spacing: tuple[float, ...], settings: QSMSettings
) -> tuple[Array, str]:
    """Map without its shading, and in words what was done, or why not."""
    if settings.shading == "none":
        return chi, LEFT_IN
    if r2star is None:
        return chi, f"{LEFT_IN}: it needs R2*, and there is only one echo"
    found = shading_of(chi, r2star, kept, spacing)
    if not found.voxels:
        return chi, f"{LEFT_IN}: no fluid was found"
    words = f"{1e3 * found.rms:.1f} ppb (RMS) taken out by {found.voxels} voxels of fluid"
    return chi - found.values, words


def _referenced(
    chi: Array, r2star: Array | None, kept: MaskArray, spacing: tuple[float, ...], settings: QSMSettings
) -> tuple[Array, str, list[str]]:
    """Map against its reference, the reference in words, and a note where it is not the one asked for."""
    region, name, notes = kept, "mean over the mask", []
    if settings.reference == "none":
        return np.where(kept, chi, 0).astype(np.float32), "none", []
    if settings.reference == "csf":
        fluid = np.zeros_like(kept) if r2star is None else fluid_mask(r2star, kept, spacing)
        if fluid.any():
            region, name = fluid, f"mean over {int(fluid.sum())} voxels of the ventricles' fluid"
        else:
            notes = ["No fluid was found in the ventricles: the reference is the mean over the mask."]
    return np.where(kept, chi - chi[region].mean(), 0).astype(np.float32), name, notes


def _uncrop(part: Array, like: MaskArray, box: tuple[slice, ...]) -> Array:
    """Volume of the whole grid with a part put into its box."""
    whole = np.zeros(like.shape, part.dtype)
    whole[box] = part
    return whole
