"""The images of one gradient-echo acquisition, checked and on one grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from voxelome.errors import InputError, blame
from voxelome.imageio import Volume, load_volume
from voxelome.orientation import largest_displacement

if TYPE_CHECKING:
    from voxelome.qsm.checks import Part

SAME_TIME = 1e-5  # s; sidecars round


class Images(NamedTuple):
    """Magnitude, and phase in rad or None, of shape (x, y, z, echo).

    ``grid`` is the image whose grid they are on; ``how`` says how the phase was read.
    """

    magnitude: Any
    phase: Any
    grid: Volume
    how: str


def magnitude_paths(spec: Any) -> list[str]:
    """Images that the magnitude comes from."""
    return list(spec.magnitude or spec.real)


def phase_paths(spec: Any) -> list[str]:
    """Images that the phase comes from; empty where there is none."""
    return list(spec.phase or spec.imaginary)


def load_images(spec: Any) -> Images:
    """Magnitude and phase of the inputs of :class:`voxelome.interfaces.qsm.ReconstructQSM`.

    Raises
    ------
    InputError
        Images or echo times are missing, do not belong together, or cannot be read.
    """
    from voxelome.anat.checks import check_orientation
    from voxelome.qsm.phase import phase_to_radians, polar

    _check_parts(spec)
    _check_times(spec)
    parts = {
        name: [load_volume(path, form=spec.affine) for path in getattr(spec, name)]
        for name in ("magnitude", "phase", "real", "imaginary")
    }
    grid = (parts["magnitude"] or parts["real"])[0]
    with blame(magnitude_paths(spec)[0]):
        check_orientation(grid.data.shape, grid.qform, grid.sform, spec.affine)
    stacks = {name: _stack(found, getattr(spec, name), grid) for name, found in parts.items() if found}
    magnitude, phase, how = stacks.get("magnitude"), None, ""
    if spec.real:
        with blame(spec.real[0]):
            made, phase = polar(stacks["real"], stacks["imaginary"])
        magnitude, how = made if magnitude is None else magnitude, "Angle of the real and imaginary images."
    if spec.phase:
        with blame(spec.phase[0]):
            slope = parts["phase"][0].slope
            phase, how = phase_to_radians(stacks["phase"], spec.phase_units or None, slope)
    if phase is not None:
        phase, notes = _as_convention(phase, magnitude, spec)
        how = " ".join((how, *notes))
    return Images(magnitude, phase, grid, how)


def _as_convention(phase: Any, magnitude: Any, spec: Any) -> tuple[Any, list[str]]:
    """Phase that is positive where the field is raised and even over the slices, and what was done to it."""
    from voxelome.qsm.vendors import alternating_axis, sign_of_phase, turn_every_other_slice

    notes = []
    axis = alternating_axis(phase[..., 0], magnitude[..., 0])
    if axis is not None:
        phase = turn_every_other_slice(phase, axis)
        notes.append(f"Every other slice along {'ijk'[axis]} was stored half a turn off: it was turned back.")
    sign = {"positive": 1, "negative": -1}.get(spec.phase_sign) or sign_of_phase(spec.manufacturer)
    who = "the settings say" if spec.phase_sign != "vendor" else f"scanners of {spec.manufacturer} store it"
    if not sign:
        whose = f"manufacturer {spec.manufacturer}" if spec.manufacturer else "no manufacturer"
        notes.append(f"Its sign was taken as positive: the sidecars name {whose}, whose habit is not known.")
    else:
        notes.append(f"Its sign was {'kept' if sign > 0 else 'turned'}, as {who}.")
    return (-phase if sign < 0 else phase), notes


def image_warnings(images: Images, mask: Any, spec: Any) -> list[str]:
    """Sentences on what is wrong in the images inside the mask.

    Raises
    ------
    InputError
        The mask is too small, or a slice in its middle holds nothing.
    """
    from voxelome.qsm.checks import check_image, check_mask, together

    kinds: tuple[tuple[Part, Any, list[str]], ...] = (
        ("magnitude", images.magnitude, magnitude_paths(spec)),
        ("phase", images.phase, phase_paths(spec)),
    )
    with blame(magnitude_paths(spec)[0]):
        warnings = check_mask(mask)
    for part, stack, paths in kinds:
        found = []
        for echo, path in enumerate(paths):
            with blame(path):
                found.append(check_image(stack[..., echo], mask, part))
        warnings += together(found, part)
    return warnings


def _check_parts(spec: Any) -> None:
    """Raise InputError where there is no magnitude, or the phase is not that of each echo."""
    if bool(spec.real) != bool(spec.imaginary):
        there, missing = ("real", "imag") if spec.real else ("imag", "real")
        raise InputError(
            (spec.real or spec.imaginary)[0],
            f"is a part-{there} image without a part-{missing} image",
            f"add part-{missing} images of the same echoes, or magnitude and phase",
        )
    if not magnitude_paths(spec):
        if not spec.phase:
            raise InputError(spec.label, "has no image", "give magnitude images, one an echo")
        raise InputError(
            spec.phase[0], "phase has no magnitude image", "add part-mag images of the same echoes"
        )
    if not phase_paths(spec):
        return
    echoes, phases = len(magnitude_paths(spec)), len(phase_paths(spec))
    if spec.phase_difference or (phases == 1 < echoes):
        why = (
            "its sidecar has EchoTime1 and EchoTime2"
            if spec.phase_difference
            else f"there is one phase image for {echoes} magnitude images"
        )
        raise InputError(
            phase_paths(spec)[0],
            f"seems to be a phase difference between two echoes ({why})",
            "the phase of each echo is needed: export it, or take this image out to get R2* alone",
        )
    for paths in (spec.phase, spec.real, spec.imaginary):
        if paths and len(paths) != echoes:
            raise InputError(
                paths[-1],
                f"is one of {len(paths)} images for {echoes} images of the magnitude",
                "give both for each echo",
            )


def _check_times(spec: Any) -> None:
    """Raise InputError where an echo time is missing or not its echo's own, or differs for the phase."""
    times, paths = list(spec.echo_times), magnitude_paths(spec)
    phase_times = list(spec.phase_times) or times
    for these, files in ((times, paths), (phase_times, phase_paths(spec))):
        missing = [path for path, time in zip(files, these, strict=False) if time <= 0]
        if missing or (files and len(these) != len(files)):
            raise InputError(
                missing[0] if missing else files[0],
                "its sidecar has no EchoTime",
                "add EchoTime in seconds to the JSON file",
            )
    for later, path in enumerate(paths):
        for earlier in range(later):
            if abs(times[later] - times[earlier]) < SAME_TIME:
                raise InputError(
                    path,
                    f"has the same EchoTime, {times[later]:g} s, as {Path(paths[earlier]).name}",
                    "correct EchoTime in the JSON files; name repeated scans by run-",
                )
    for path, magnitude, time, expected in zip(
        phase_paths(spec), paths, phase_times, times, strict=bool(phase_paths(spec))
    ):
        if abs(time - expected) > SAME_TIME:
            raise InputError(
                path,
                f"has EchoTime {time:g} s, and {Path(magnitude).name} has {expected:g} s",
                "correct EchoTime in the JSON files of magnitude and phase",
            )


def _stack(volumes: list[Volume], paths: list[str], first: Volume) -> Any:
    """Join echoes into (x, y, z, echo); all must be on the grid of the first magnitude."""
    for volume, path in zip(volumes, paths, strict=True):
        if volume.data.ndim != 3 or volume.data.shape != first.data.shape:
            raise InputError(
                path,
                f"has shape {volume.data.shape}, the magnitude of the first echo {first.data.shape}",
                "all images of an acquisition must be 3D on one grid",
            )
        gap = largest_displacement(volume.data.shape, volume.affine, first.affine)
        if gap > min(first.spacing) / 2:
            raise InputError(
                path,
                f"its header puts voxels up to {gap:.1f} mm from where the first echo's magnitude has them",
                "convert all images of an acquisition in the same way",
            )
        if not np.isfinite(volume.data).all():
            raise InputError(path, "holds NaN or infinite values", "replace them, or export the image again")
    return np.stack([volume.data for volume in volumes], axis=-1)
