"""What an image must be before anything is computed from it."""

from __future__ import annotations

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, Form, voxel_sizes
from voxelome.orientation import largest_displacement

# A head is longer than this (mm) along each axis; an image that is not holds only a part of it.
WHOLE_HEAD = 100.0
SMALLEST, LARGEST = 0.1, 12.0
FEWEST_VOXELS = 8
# Cosine of the angle between two voxel axes above which the grid is sheared.
SHEAR = 0.01


def check_volume(data: Array, affine: Affine) -> list[str]:
    """Warnings about an image that can be used.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
        Voxel values.
    affine : ndarray, shape (4, 4)
        Voxel indices to RAS+ mm.

    Raises
    ------
    DataError
        The image is not 3D, not finite, constant, or its grid is implausible.
    """
    if data.ndim != 3:
        count = int(np.prod(data.shape[3:])) if data.ndim > 3 else 0
        raise DataError(
            f"is {data.ndim}D with shape {data.shape}" + (f" ({count} volumes)" if count else ""),
            "give one 3D volume a file",
        )
    _check_grid(data, affine)
    broken = int(data.size - np.isfinite(data).sum())
    if broken:
        raise DataError(
            f"{broken} of {data.size} voxels are NaN or infinite", "replace them, or export the image again"
        )
    if data.max() == data.min():
        raise DataError(f"every voxel is {data.flat[0]:g}", "export the image again")
    warnings = []
    spacing = voxel_sizes(affine)
    if max(spacing) > 3 * min(spacing):
        warnings.append(
            f"thick slices ({' x '.join(f'{size:.2g}' for size in spacing)} mm): thin structures are lost."
        )
    if not holds_whole_head(data.shape, affine):
        extent = " x ".join(f"{size * count:.0f}" for size, count in zip(spacing, data.shape, strict=True))
        warnings.append(f"the field of view ({extent} mm) does not hold a whole head.")
    return warnings


def holds_whole_head(shape: tuple[int, ...], affine: Affine) -> bool:
    """Whether a field of view is long enough for a head along every axis."""
    extent = (size * count for size, count in zip(voxel_sizes(affine), shape, strict=True))
    return min(extent) >= WHOLE_HEAD


def check_orientation(
    shape: tuple[int, ...], qform: Affine | None, sform: Affine | None, form: Form = "auto"
) -> Form:
    """Which of the header's two affines is used, after a check that they can be trusted.

    NIfTI holds two statements of where the voxels lie. Programs differ in which they read, so an image
    whose two disagree is mirrored or moved for one user and not for another.

    Parameters
    ----------
    shape : tuple of int
        Voxels along each axis.
    qform, sform : ndarray, shape (4, 4), or None
        None where the header says that it is not known (code 0).
    form : {'auto', 'sform', 'qform'}
        ``auto`` takes the sform where both agree; the others settle a disagreement.

    Raises
    ------
    DataError
        Neither is known; they disagree by more than half a voxel somewhere in the image and `form` does
        not settle it.
    """
    if qform is None and sform is None:
        raise DataError(
            "its header does not say how the head lies (qform_code and sform_code are 0), so left and right "
            "are not known",
            "export it again from DICOM, or write the orientation into the header once you know it",
        )
    if qform is None or sform is None:
        return "sform" if qform is None else "qform"
    if form != "auto":
        return form
    gap = largest_displacement(shape, qform, sform)
    if gap > min(*voxel_sizes(sform), *voxel_sizes(qform)) / 2:
        mirrored = np.linalg.det(qform[:3, :3] @ np.linalg.inv(sform[:3, :3])) < 0
        more = ", and disagree on which side is left" if mirrored else ""
        raise DataError(
            f"its qform and sform put the same voxel up to {gap:.1f} mm apart{more}",
            "find out which is right and say so (affine: sform, or affine: qform), or mend the header",
        )
    return "sform"


def _check_grid(data: Array, affine: Affine) -> None:
    if min(data.shape) < FEWEST_VOXELS:
        raise DataError(
            f"has shape {data.shape}", f"give a volume of at least {FEWEST_VOXELS} voxels an axis"
        )
    if not np.isfinite(affine).all():
        raise DataError("its affine is not finite", "mend the header (qform or sform)")
    spacing = voxel_sizes(affine)
    if not all(SMALLEST <= size <= LARGEST for size in spacing):
        sizes = " x ".join(f"{size:.3g}" for size in spacing)
        raise DataError(
            f"its voxels are {sizes} mm", f"brain MRI has {SMALLEST} to {LARGEST} mm: mend the header"
        )
    axes = affine[:3, :3] / np.array(spacing)
    overlap = np.abs(axes.T @ axes - np.eye(3)).max()
    if overlap > SHEAR:
        angle = np.degrees(np.arcsin(min(overlap, 1)))
        raise DataError(
            f"its voxel axes are not at right angles (off by {angle:.1f} degrees)",
            "mend the header, or resample the image",
        )
