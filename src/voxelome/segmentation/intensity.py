"""Intensities scaled as a network was trained with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.imageio import Array, MaskArray
from voxelome.segmentation.spec import InputSpec

FloatVolume = NDArray[np.float32]

# Standard deviations above the mean that no tissue has; a vessel after contrast agent has 10 or 20.
ABSURD_SD = 100.0
# Median of brain tissue and fluid on CT, in Hounsfield units: 5 to 40, and more only with much blood.
BRAIN_HU = (-10.0, 90.0)
BONE_HU = 300.0
AIR_HU = -200.0


def scale(data: Array, brain: MaskArray | None, spec: InputSpec) -> FloatVolume:
    """Channels of one input, its intensities scaled by the rule of `spec`.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
    brain : ndarray of bool, shape (x, y, z), or None
        Brain mask, for rules whose figures come from the brain.
    spec : InputSpec
        Rule. The channels of the rule ``window`` are cut at 0 and 1 where it has no bounds of its own.

    Returns
    -------
    ndarray of float32, shape (channels, x, y, z)

    Raises
    ------
    DataError
        The image holds NaN or infinite values, is constant in the region, or the region is empty.
    """
    _check_finite(data, spec)
    if spec.rule == "window":
        low, high = spec.clip or (0.0, 1.0)
        edges = ((center - width / 2, width) for center, width in spec.windows)
        return np.stack([np.clip(_moved(data, lower, width), low, high) for lower, width in edges])
    scaled = _moved(data, *_figures(data, brain, spec))
    if spec.clip is not None:
        np.clip(scaled, *spec.clip, out=scaled)
    return scaled[np.newaxis]


def region_values(data: Array, brain: MaskArray | None, spec: InputSpec) -> Array:
    """Values of the region that the figures of a rule come from, shape (n,).

    Raises
    ------
    DataError
        There is nothing in it.
    """
    if data.flags.f_contiguous:
        # In the order of memory, which is several times as fast; the order of the values means nothing.
        data, brain = data.T, None if brain is None else brain.T
    if spec.region == "image":
        return data.ravel()
    if spec.region == "nonzero":
        values = data[data != 0]
    elif brain is None:
        raise DataError(f"{spec.label} is scaled by its brain, and there is no brain mask", "give one")
    else:
        values = data[brain]
    if not values.size:
        problem = f"{spec.label} has nothing to be scaled by: " + (
            "the brain mask is empty" if spec.region == "brain" else "every voxel is 0"
        )
        raise DataError(problem, "look at the image and at its brain mask")
    found: Array = values
    return found


def far_outside(data: Array, brain: MaskArray | None, spec: InputSpec) -> str:
    """Sentence on why the intensities cannot be what the network knows; empty where nothing is odd.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
        As given, not scaled.
    brain : ndarray of bool, shape (x, y, z), or None
    spec : InputSpec

    Notes
    -----
    With the rule ``window`` the image must look like Hounsfield units: brain near that of tissue, or, without
    a mask, air and bone. With the others a region must not be mostly of one value (an image cut off, or a
    mask), nor hold voxels more than 100 standard deviations above its mean (a spike, or a wrong scaling).
    Where nothing is scaled, nothing is known.
    """
    if spec.rule == "window":
        return _no_hounsfield_units(data, brain, spec)
    if spec.rule == "none":
        return ""
    values = region_values(data, brain, spec)
    median = np.median(values)
    # A value that more than half have is the median.
    share = float(np.mean(values == median))
    if share > 0.5 and (spec.region != "image" or median != 0):
        where = "its brain" if spec.region == "brain" else f"its {spec.region} voxels"
        return (
            f"{spec.label}: {share:.0%} of {where} have the value {median:g}; is it an image of intensities?"
        )
    spread = float(values.std(dtype=np.float64))
    top = (float(values.max()) - float(values.mean(dtype=np.float64))) / spread if spread > 0 else 0.0
    if top > ABSURD_SD:
        return f"{spec.label}: its brightest voxel is {top:.0f} standard deviations above the mean."
    return ""


def _no_hounsfield_units(data: Array, brain: MaskArray | None, spec: InputSpec) -> str:
    advice = "is it in Hounsfield units (slope and intercept applied)?"
    if brain is not None and brain.any():
        median = float(np.median(data[brain]))
        if not BRAIN_HU[0] <= median <= BRAIN_HU[1]:
            return f"{spec.label}: the median of the brain is {median:g}, and of tissue 5 to 40; {advice}"
        return ""
    lowest, highest = float(data.min()), float(data.max())
    if lowest > AIR_HU or highest < BONE_HU:
        return f"{spec.label}: its values go from {lowest:g} to {highest:g}: no air or no bone; {advice}"
    return ""


def _figures(data: Array, brain: MaskArray | None, spec: InputSpec) -> tuple[float, float]:
    """What is taken away, and what is divided by."""
    if spec.rule == "none":
        return 0.0, 1.0
    values = region_values(data, brain, spec)
    if spec.rule == "zscore":
        low, width = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    else:
        low, high = (float(value) for value in np.percentile(values, (spec.low, spec.high)))
        width = high - low
    # The mean of equal numbers may miss them by a rounding error, and leave a spread that is none.
    if width <= 1e-6 * abs(low):
        problem = f"{spec.label} has no contrast (nearly all of the {spec.region} is {low:g})"
        raise DataError(problem, "look at the image: is it the right one?")
    return low, width


def _moved(data: Array, low: float, width: float) -> FloatVolume:
    scaled: FloatVolume = data.astype(np.float32)
    scaled -= np.float32(low)
    scaled /= np.float32(width)
    return scaled


def _check_finite(data: Array, spec: InputSpec) -> None:
    # A sum is finite where every term is, but for overflow; only then every voxel is looked at.
    if np.isfinite(data.sum(dtype=np.float64)):
        return
    bad = int(np.count_nonzero(~np.isfinite(data)))
    if bad:
        problem = f"{spec.label} holds {bad} NaN or infinite values"
        raise DataError(problem, "set them to 0 and give it again")
