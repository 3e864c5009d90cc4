"""The images of one participant, as the scanner stores them: grids, head positions, sidecars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from voxelome.bids.names import bids_name, split_label
from voxelome.imageio import Affine, Array, FloatArray, save_volume
from voxelome.phantom import gradient_echo as gre
from voxelome.phantom.anatomy import Tissues, tissues_at
from voxelome.phantom.contrasts import CONTRASTS, acquire, ideal_image, move_image
from voxelome.phantom.deform import Grid, centred_grid
from voxelome.phantom.lesion import Tumour, label_image, tumour_fractions
from voxelome.phantom.person import Person
from voxelome.phantom.truth import EchoTruth

# Extent (mm) and middle of the field of view: scalp, face and upper neck are inside.
EXTENT = (200.0, 240.0, 212.0)
CENTRE = (0.0, -9.0, -6.0)
# The gradient echo covers less of the face and neck.
_ECHO_EXTENT = (192.0, 232.0, 180.0)
_ECHO_CENTRE = (0.0, -11.0, 6.0)
_SEQUENCES: dict[str, dict[str, Any]] = {
    "T1w": {"RepetitionTime": 2.0, "EchoTime": 0.003, "InversionTime": 0.9, "FlipAngle": 9},
    "ce-gadolinium_T1w": {
        "RepetitionTime": 2.0,
        "EchoTime": 0.003,
        "InversionTime": 0.9,
        "FlipAngle": 9,
        "ContrastBolusIngredient": "GADOLINIUM",
    },
    "T2w": {"RepetitionTime": 4.5, "EchoTime": 0.1, "FlipAngle": 90},
    "FLAIR": {"RepetitionTime": 9.0, "EchoTime": 0.12, "InversionTime": 2.5, "FlipAngle": 90},
}


def field_of_view(
    extent: tuple[float, float, float], centre: tuple[float, float, float], spacing: float
) -> Grid:
    """Grid over a field of view (mm); voxel counts are even."""
    x, y, z = (2 * round(length / spacing / 2) for length in extent)
    return centred_grid((x, y, z), (spacing, spacing, spacing), centre)


def _raw_path(bids_dir: Path, person: Person, suffix: str, **entities: str) -> Path:
    name = bids_name({"subject": person.label, **entities}, suffix, ".nii.gz")
    return bids_dir / f"sub-{person.label}" / "anat" / name


def write_contrasts(
    bids_dir: Path,
    person: Person,
    tumour: Tumour,
    grid: Grid,
    tissues: Tissues,
    parts: dict[str, FloatArray],
) -> None:
    """Write T1w, contrast-enhanced T1w, T2w and FLAIR, each on its own grid and in its own head position."""
    texture = ndimage.gaussian_filter(person.rng(2).standard_normal(grid.shape, dtype=np.float32), 1.0)
    texture /= texture.std()
    for number, contrast in enumerate(CONTRASTS):
        image = ideal_image(contrast, tissues, parts, tumour, texture)
        if contrast in person.motion:
            image = move_image(image, grid.affine, grid, person.motion[contrast])
        own, affine = _stored(contrast, image, grid)
        stored = acquire(person.rng(10 + number), own, Grid(_shape(own), affine), person.site)
        entities, suffix = split_label(contrast)
        sidecar = {"MagneticFieldStrength": gre.FIELD_STRENGTH, "Modality": "MR", **_SEQUENCES[contrast]}
        save_volume(_raw_path(bids_dir, person, suffix, **entities), stored, affine, sidecar)


def _stored(contrast: str, image: FloatArray, grid: Grid) -> tuple[FloatArray, Affine]:
    """Image and affine as this contrast is stored: FLAIR in thick slices, T2w from left to right reversed."""
    affine = grid.affine.copy()
    if contrast == "FLAIR":
        affine[:3, 3] += affine[:3, 2] / 2
        affine[:3, 2] *= 2
        return (image[..., 0::2] + image[..., 1::2]) / 2, affine
    if contrast == "T2w":
        affine[:3, 3] += affine[:3, 0] * (grid.shape[0] - 1)
        affine[:3, 0] *= -1
        return image[::-1], affine
    return image, affine


def _shape(data: Array) -> tuple[int, int, int]:
    x, y, z = data.shape
    return x, y, z


def write_gradient_echo(bids_dir: Path, person: Person, tumour: Tumour, spacing: float) -> EchoTruth:
    """Write the echoes of the moved head, whose z axis is the field's; return what is true on their grid."""
    grid = field_of_view(_ECHO_EXTENT, _ECHO_CENTRE, spacing)
    back = np.asarray(np.linalg.inv(person.motion["MEGRE"]), dtype=np.float64)
    points = person.warp.to_template(grid.points(back))
    tissues = tissues_at(points, spacing)
    parts = tumour_fractions(tumour, points, tissues, spacing)
    head = gre.magnetise(person, tumour, points, tissues, parts, spacing)
    magnitude, phase = gre.acquire_echoes(person.rng(3), gre.complex_signal(head), grid, person)
    for echo, time in enumerate(gre.ECHO_TIMES):
        sidecar = {
            "MagneticFieldStrength": gre.FIELD_STRENGTH,
            "Modality": "MR",
            "EchoTime": time,
            "RepetitionTime": gre.REPETITION_TIME,
            "FlipAngle": gre.FLIP_ANGLE,
        }
        for part, images, units in (("mag", magnitude, "arbitrary"), ("phase", phase, "rad")):
            path = _raw_path(bids_dir, person, "MEGRE", echo=str(echo + 1), part=part)
            save_volume(path, images[echo], grid.affine, {**sidecar, "Units": units})
    brain = tissues.brain
    return EchoTruth(
        grid, label_image(parts), head.nuclei, gre.coarsen(head.chi) * brain, gre.coarsen(head.r2star) * brain
    )
