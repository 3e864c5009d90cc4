"""Intensities that can be compared between images.

All methods here see one image. Nyul's, which learns a scale from other people's, is in
:mod:`voxelome.anat.landmarks`.

References
----------
Shinohara RT, Sweeney EM, Goldsmith J, et al. Statistical normalization techniques for magnetic resonance
imaging. NeuroImage Clin 6 (2014) 9.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, signal

from voxelome.errors import DataError, suggest
from voxelome.imageio import Array, FloatArray, MaskArray

METHODS = ("zscore", "whitestripe", "percentile", "none")
LOW, HIGH = 1.0, 99.0

# Half of the stripe's share of the brain (Shinohara 2014).
STRIPE = 0.05
# Contrasts in which white matter is the brightest tissue, and those in which it is the darkest.
_BRIGHT = ("T1w", "UNIT1", "inplaneT1")
_DARK = ("T2w", "FLAIR", "PDw")
_FEWEST = 1000
# Bins of the histogram in the width of the Gaussian that smooths it.
_FINENESS = 10
# A mode rises out of its surroundings by this share of the largest: less is noise of the histogram.
_PROMINENCE = 0.02
# A bright mode has this share of the largest one's height (Shinohara 2014: what is rarer is a tail), a dark
# one half: below white matter there are vessels and iron, and no tissue.
_BRIGHT_HEIGHT, _DARK_HEIGHT = 0.2, 0.5
# Half of the white matter, the brightest tissue, lies above its mode. Where more of the brain does, the mode
# is that of gray matter and white matter has none; where less does, it is an enhancing lesion.
_BRIGHT_QUANTILES = (0.45, 0.93)
# Fluid that FLAIR has nulled can be the largest mode of an atrophic brain; it lies below this share of the
# median, which is in the parenchyma.
_NULLED = 0.5
# The largest mode stands out when it is this much higher than a histogram without any.
_STANDS_OUT = 1.2
_NO_MODE = "correct the bias field, look at the brain mask, or normalise by zscore or percentile"


@dataclass(frozen=True)
class Normalised:
    """An image with normalised intensities.

    Attributes
    ----------
    data : ndarray of float32, shape (x, y, z)
        0 outside the mask.
    units : str
        What a value means, for the sidecar.
    parameters : dict of float
        What was found in the image, by the names it has in the sidecar.
    offset, scale : float
        The value that became 0, and how much became 1: see :func:`apply_scale`.
    """

    data: FloatArray
    units: str
    parameters: dict[str, float]
    offset: float
    scale: float


@dataclass(frozen=True)
class _Scale:
    """Value that becomes 0, how much becomes 1, and what they are."""

    offset: float
    scale: float
    units: str
    parameters: dict[str, float]


def zscore(data: Array, mask: MaskArray) -> FloatArray:
    """Image with mean 0 and standard deviation 1 in the mask, and 0 outside of it.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
    mask : ndarray of bool, shape (x, y, z)

    Raises
    ------
    DataError
        The mask is empty, or the image is constant in it.
    """
    return normalise(data, mask, "zscore", "").data


def normalise(data: Array, mask: MaskArray, method: str, contrast: str) -> Normalised:
    """Image with the intensities of one of :data:`METHODS`, and 0 outside the mask.

    ``zscore``
        Mean 0 and standard deviation 1 in the brain.
    ``whitestripe``
        Mean 0 and standard deviation 1 in the white stripe: the tenth of the brain whose values lie
        nearest to the mode of normal-appearing white matter (Shinohara 2014).
    ``percentile``
        1st and 99th percentile in the brain become 0 and 1; nothing is clipped.
    ``none``
        Values as they are.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
        Bias field corrected, where the method is ``whitestripe``.
    mask : ndarray of bool, shape (x, y, z)
        Brain.
    method : {'zscore', 'whitestripe', 'percentile', 'none'}
    contrast : str
        Label of the contrast, such as T1w, ce-gadolinium_T1w or FLAIR: how white matter is found in it.

    Raises
    ------
    DataError
        There is no such method; the mask is empty; the image is constant in it; or white matter has no
        mode in its histogram.
    """
    if method not in METHODS:
        raise DataError(f"there is no normalisation {method!r}", suggest(method, METHODS))
    inside = data[mask].astype(np.float64)
    if inside.size == 0:
        raise DataError(
            "no voxel of the image lies in the brain mask", "check the brain mask and the registration"
        )
    if method != "none" and inside.min() == inside.max():
        raise DataError(f"every voxel in the brain is {inside[0]:g}", "export the image again")
    found = _SCALES[method](inside, contrast)
    result = apply_scale(data, mask, found.offset, found.scale)
    return Normalised(result, found.units, found.parameters, found.offset, found.scale)


def apply_scale(data: Array, mask: MaskArray, offset: float, scale: float) -> FloatArray:
    """Image with ``(value - offset) / scale`` in the mask and 0 outside, as float32.

    Parameters
    ----------
    data : ndarray, shape (x, y, z)
        In any space: scaling and linear interpolation commute.
    mask : ndarray of bool, shape (x, y, z)
    offset, scale : float
        Of :class:`Normalised`.
    """
    result = np.zeros(data.shape, dtype=np.float32)
    result[mask] = (data[mask].astype(np.float64) - offset) / scale
    return result


def _zscore(inside: FloatArray, _: str) -> _Scale:
    mean, sd = float(inside.mean()), float(inside.std())
    return _Scale(mean, sd, "z-score in the brain mask", {"BrainMean": mean, "BrainSD": sd})


def _percentile(inside: FloatArray, _: str) -> _Scale:
    low, high = (float(value) for value in np.percentile(inside, [LOW, HIGH]))
    if low == high:
        raise DataError(f"nearly all voxels in the brain are {low:g}", "normalise by zscore")
    units = f"{LOW:g}st percentile in the brain is 0, {HIGH:g}th is 1, not clipped"
    return _Scale(low, high - low, units, {"BrainPercentile1": low, "BrainPercentile99": high})


def _none(_inside: FloatArray, _: str) -> _Scale:
    return _Scale(0.0, 1.0, "arbitrary, as in the image", {})


def _whitestripe(inside: FloatArray, contrast: str) -> _Scale:
    """Mean and standard deviation of the white stripe.

    The stripe lies between the quantiles 0.05 below and above that of the mode, all over the voxels of the
    mask that are not exactly 0 (which lie outside of the field of view).
    """
    values = _spread_steps(inside[inside != 0])
    if values.size < _FEWEST:
        raise DataError(f"only {values.size} voxels of the brain have a value", "check the brain mask")
    mode = _white_matter_mode(values, contrast)
    quantile = float(np.mean(values < mode))
    low, high = np.quantile(values, [max(quantile - STRIPE, 0), min(quantile + STRIPE, 1)])
    stripe = values[(values >= low) & (values <= high)]
    mean, sd = float(stripe.mean()), float(stripe.std())
    found = {
        "WhiteMatterMode": mode,
        "WhiteMatterQuantile": quantile,
        "WhiteStripeLow": float(low),
        "WhiteStripeHigh": float(high),
        "WhiteStripeMean": mean,
        "WhiteStripeSD": sd,
    }
    return _Scale(mean, sd, "z-score in the white stripe (normal-appearing white matter)", found)


def _white_matter_mode(values: FloatArray, contrast: str) -> float:
    """Mode of normal-appearing white matter.

    As in the authors' program WhiteStripe, the last mode of T1w, with or without contrast agent, and the
    largest of all else. Unlike there, a darker mode at least half as large goes before it where white matter
    is the darkest tissue, because a brain may hold more gray matter.
    """
    suffix = contrast.rsplit("_", maxsplit=1)[-1]
    if suffix == "FLAIR":
        values = values[values > _NULLED * np.median(values)]
    modes = _modes(values)
    if not modes:
        raise DataError("no tissue stands out in the histogram of the brain", _NO_MODE)
    if suffix in _BRIGHT:
        return _last_mode(modes, values)
    if suffix in _DARK:
        return min(mode for mode, height in modes.items() if height >= _DARK_HEIGHT)
    return max(modes, key=lambda mode: modes[mode])


def _last_mode(modes: dict[float, float], values: FloatArray) -> float:
    """Mode of the brightest tissue.

    Raises
    ------
    DataError
        It has none of its own.
    """
    lowest, highest = _BRIGHT_QUANTILES
    above = {
        mode: float(np.mean(values > mode)) for mode, height in modes.items() if height >= _BRIGHT_HEIGHT
    }
    mode = max((mode for mode, share in above.items() if share >= 1 - highest), default=max(above))
    if above[mode] > 1 - lowest:
        raise DataError(
            "white matter, the brightest tissue, has no mode in the histogram of the brain: above the last "
            f"one ({mode:.4g}) lie {above[mode]:.0%} of the brain",
            _NO_MODE,
        )
    return mode


def _modes(values: FloatArray) -> dict[float, float]:
    """Modes of the smoothed histogram, and their heights against that of the largest.

    None where the largest does not stand out. The histogram is smoothed by a Gaussian whose width follows
    Scott (1992), of a spread that bright vessels and lesions do not widen.
    """
    low, q25, q75, high = np.percentile(values, [1, 25, 75, 99])
    spread = min(float(values.std()), float(q75 - q25) / 1.349)
    if low == high:
        return {}
    # The tails alone may span the range: the histogram stays small all the same.
    width = max(spread, (high - low) / 100) * values.size**-0.2
    step = width / _FINENESS
    # Both ends are empty, so that a tissue at the end of the range has its mode.
    edges = np.arange(low - (high - low), high + (high - low), step)
    counts, _ = np.histogram(values, bins=edges)
    density = ndimage.gaussian_filter1d(counts.astype(float), _FINENESS, mode="constant")
    even = 0.98 * values.size * step / (high - low)
    if density.max() < _STANDS_OUT * even:
        return {}
    density /= density.max()
    peaks, _ = signal.find_peaks(density, prominence=_PROMINENCE)
    return {float(edges[peak] + step / 2): float(density[peak]) for peak in peaks}


def _spread_steps(values: FloatArray) -> FloatArray:
    """Values spread evenly over the step that each stands for, always in the same way.

    Integers make a comb of the histogram, and a tenth of the brain can have one value. Of values that are
    all different, the steps are too small to matter.
    """
    levels, level = np.unique(values, return_inverse=True)
    if levels.size < 2:
        return values
    middles = (levels[1:] + levels[:-1]) / 2
    edges = np.concatenate([[2 * levels[0] - middles[0]], middles, [2 * levels[-1] - middles[-1]]])
    share = np.random.default_rng(0).random(values.size)
    spread: FloatArray = edges[level] + share * (edges[level + 1] - edges[level])
    return spread


_SCALES: dict[str, Callable[[FloatArray, str], _Scale]] = {
    "zscore": _zscore,
    "whitestripe": _whitestripe,
    "percentile": _percentile,
    "none": _none,
}
