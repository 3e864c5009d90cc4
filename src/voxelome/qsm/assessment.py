"""What the maps of an acquisition say of themselves: numbers, and warnings in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from voxelome.imageio import Affine, Array, MaskArray, voxel_sizes
from voxelome.qsm.dipole import field_direction
from voxelome.qsm.fieldmap import FieldFit
from voxelome.qsm.streaking import streaking_index
from voxelome.qsm.susceptibility import POOR_FIT
from voxelome.qsm.unwrap import wrap_fraction

_MANY_WRAPS = 0.01
_MANY_POOR = 0.1
_LITTLE_KEPT = 0.5
_ENOUGH_VOXELS = 1000
_CLEARLY_LOWER = 0.02  # ppm


def spatial_interval(echo_times: Sequence[float]) -> float:
    """Time (s) whose phase was unwrapped in space: between the first two echoes, or that of the only one."""
    return echo_times[1] - echo_times[0] if len(echo_times) > 1 else echo_times[0]


def assess(
    fit: FieldFit,
    echo_times: Sequence[float],
    mask: MaskArray,
    kept: MaskArray,
    chi: Array,
    affine: Affine,
    *,
    threads: int = 1,
) -> dict[str, float]:
    """Numbers that say whether to trust the maps; there is no streaking index of a grid too small for one."""
    low, high = np.percentile(chi[kept], (1, 99))
    numbers = {
        "residual_wraps": wrap_fraction(fit.field * np.float32(spatial_interval(echo_times)), mask),
        "phase_residual_rad": float(np.median(fit.residual[mask])),
        "poor_fit_fraction": float(np.mean(fit.residual[mask] > POOR_FIT)),
        "mask_kept_fraction": float(kept.sum() / mask.sum()),
        "chi_p01_ppm": float(low),
        "chi_p99_ppm": float(high),
    }
    streaks = streaking_index(chi, kept, voxel_sizes(affine), field_direction(affine), threads=threads)
    return numbers if streaks is None else numbers | {"streaking_index": streaks}


def notes_on(quality: dict[str, float], chi: Array, r2star: Array | None, kept: MaskArray) -> list[str]:
    """Warnings that the numbers give cause for."""
    wraps, poor, share = (
        quality[key] for key in ("residual_wraps", "poor_fit_fraction", "mask_kept_fraction")
    )
    notes = []
    if wraps > _MANY_WRAPS:
        notes.append(f"{wraps:.1%} of neighbouring voxels still differ by more than half a turn of phase.")
    if poor > _MANY_POOR:
        notes.append(
            f"The phase of {poor:.0%} of the mask does not grow linearly with echo time: a bipolar readout, "
            "motion or a wrong echo time may be the cause."
        )
    if share < _LITTLE_KEPT:
        notes.append(f"Background removal kept only {share:.0%} of the mask.")
    if r2star is not None and _looks_inverted(chi, r2star, kept):
        notes.append(
            "Tissue of high R2* has low susceptibility: the phase may have the other sign than was taken "
            "(the sidecar says which). The map was not inverted: if veins and red nuclei are dark, set "
            "qsm: {phase_sign: negative}, or positive where it was turned."
        )
    return notes


def _looks_inverted(chi: Array, r2star: Array, kept: MaskArray) -> bool:
    """Whether the tissue of fastest decay, iron and veins, seems diamagnetic."""
    # The rim decays fast for another reason, the field's slope near air.
    inner = ndimage.binary_erosion(kept, iterations=2)
    if inner.sum() < _ENOUGH_VOXELS:
        return False
    fast = inner & (r2star > np.percentile(r2star[inner], 98))
    return bool(fast.any() and chi[fast].mean() < chi[inner].mean() - _CLEARLY_LOWER)
