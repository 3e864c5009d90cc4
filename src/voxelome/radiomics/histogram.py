"""The histogram of a region as neuroradiologists read it: percentiles, peak, fractions, two tissues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, stats

from voxelome.columns import HISTOGRAM, ORIGINAL, percentile
from voxelome.imageio import FloatArray
from voxelome.radiomics.results import FeatureValue
from voxelome.regions import otsu_threshold

RELATIVE = "relativehistogram"
PERCENTILES = (1, 5, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 95, 99)
FEWEST_VOXELS = 10
# Five numbers of a mixture want more than the others.
FEWEST_FOR_MIXTURE = 50
ENTROPY_BINS = 64
_POINTS = 512
_TAIL = 0.5
_REACH = 4.0
_MIXTURE_BINS = 512
_MOST_STEPS = 2000
_SAME = 1e-10
_MIXTURE = (
    "MixtureLowerMean",
    "MixtureLowerStandardDeviation",
    "MixtureUpperMean",
    "MixtureUpperStandardDeviation",
    "MixtureLowerFraction",
    "MixtureBicGain",
)
_PEAK = ("PeakPosition", "PeakHeight", "PeakWidth")
_MOMENTS = ("Mean", "StandardDeviation", "Skewness", "ExcessKurtosis", "Entropy")


@dataclass(frozen=True)
class Density:
    """A smooth histogram.

    Attributes
    ----------
    values : ndarray, shape (n,)
        Where it is known, evenly spaced, in the unit of the image.
    density : ndarray, shape (n,)
        Fraction of the region per unit.
    """

    values: FloatArray
    density: FloatArray

    @property
    def peak(self) -> tuple[float, float, float]:
        """Position and height of the highest peak, and its full width at half of the height."""
        top = int(np.argmax(self.density))
        half = self.density[top] / 2
        below = np.flatnonzero(self.density < half)
        left, right = below[below < top], below[below > top]
        ends = [np.nan, np.nan]
        for side, (found, step) in enumerate(((left[-1:], 1), (right[:1], -1))):
            for index in found:
                x0, x1 = self.values[index], self.values[index + step]
                y0, y1 = self.density[index], self.density[index + step]
                ends[side] = float(x0 + (half - y0) / (y1 - y0) * (x1 - x0))
        return float(self.values[top]), float(self.density[top]), ends[1] - ends[0]


@dataclass(frozen=True)
class Mixture:
    """Two normal distributions that together make a histogram.

    Attributes
    ----------
    means, deviations : tuple of two float
        Of the lower and the upper one.
    fraction : float
        Share of the lower one.
    gain : float
        By how much Bayes' information criterion is lower than that of a single normal distribution. It counts
        voxels as independent, which neighbors are not: read it as a comparison.
    """

    means: tuple[float, float]
    deviations: tuple[float, float]
    fraction: float
    gain: float


def histogram_features(
    values: FloatArray,
    thresholds: Sequence[float] = (),
    *,
    density: Density | None = None,
    feature_class: str = HISTOGRAM,
    unit: str = "intensity",
    reason: str = "",
) -> list[FeatureValue]:
    """Return the histogram features of the intensities of a region.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Intensities inside the region.
    thresholds : sequence of float
        For each, the fractions of the region below and above it.
    density : Density, optional
        What :func:`smooth_density` gives of the values, where the caller has it.
    feature_class : str
        Class of the features.
    unit : str
        Unit of the intensities.
    reason : str
        Why nothing can be computed, where the caller knows; all values are then missing.

    Returns
    -------
    list of FeatureValue
        Percentiles (linear between voxels), mean, standard deviation (n - 1), skewness, excess kurtosis,
        entropy of 64 bins between percentiles 1 and 99, peak and its width (:func:`smooth_density`),
        fractions, and the mixture (:func:`fit_mixture`).

    References
    ----------
    Just (2014), Improving tumour heterogeneity MRI assessment with histograms, Br J Cancer 111:2205-2213.
    Pope et al. (2009), Recurrent glioblastoma multiforme: ADC histogram analysis predicts response to
    bevacizumab treatment, Radiology 252:182-189 (the mixture).
    """
    reason = reason or unusable(values)
    found: dict[str, float] = {}
    why_no_mixture = reason
    if not reason:
        found = _moments(values.astype(np.float64), thresholds)
        found |= dict(zip(_PEAK, (density or smooth_density(values)).peak, strict=True))
        if values.size < FEWEST_FOR_MIXTURE:
            why_no_mixture = (
                f"The region has {values.size} voxels; two distributions take {FEWEST_FOR_MIXTURE}."
            )
        elif (mixture := fit_mixture(values)) is None:
            why_no_mixture = "No two distributions can be told apart in the histogram."
        else:
            pairs = zip(mixture.means, mixture.deviations, strict=True)
            parts = (*(number for pair in pairs for number in pair), mixture.fraction, mixture.gain)
            found |= dict(zip(_MIXTURE, parts, strict=True))
    results = []
    for name, name_unit in _names(thresholds, unit):
        value = found.get(name, np.nan)
        known = bool(np.isfinite(value))
        why = why_no_mixture if name in _MIXTURE else reason
        why = "" if known else why or "The curve does not fall to half of its peak."
        results.append(FeatureValue(ORIGINAL, feature_class, name, value if known else None, name_unit, why))
    return results


def reference_level(values: FloatArray, inside: FloatArray) -> tuple[float, str]:
    """Return the median of normal tissue that other values are divided by, or why there is none.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Intensities of the normal tissue.
    inside : ndarray, shape (m,)
        Intensities to be divided. Where more than a hundredth of either is negative (z-scores,
        susceptibility) a ratio means nothing.
    """
    if reason := unusable(values):
        return np.nan, f"Reference: {reason}"
    level = float(np.median(values))
    if level <= 0 or min(np.percentile(values, 1), np.percentile(inside, 1) if inside.size else 0) < 0:
        return np.nan, "The image has negative values, such as z-scores: a ratio of them means nothing."
    return level, ""


def smooth_density(values: FloatArray) -> Density:
    """Return a histogram that does not hang on bins: the Gaussian kernel density.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Intensities, not all equal. The outermost half percent on either side count, but lie beyond the curve.

    References
    ----------
    Silverman (1986), Density estimation, equation 3.31 (the width of the kernel).
    """
    low, lower, upper, high = np.percentile(values, (_TAIL, 25, 75, 100 - _TAIL))
    spread = float(np.std(values, ddof=1))
    if upper > lower:
        spread = min(spread, float(upper - lower) / 1.34)
    width = 0.9 * spread * values.size**-0.2
    start, stop = low - _REACH * width, high + _REACH * width
    grid, step = np.linspace(start, stop, _POINTS, retstep=True)
    # Each voxel is shared between the two grid points beside it, which keeps its mean.
    inside = values[(values >= start) & (values <= stop)].astype(np.float64)
    place = (inside - start) / step
    left = np.minimum(place.astype(np.intp), _POINTS - 2)
    share = place - left
    counts = np.bincount(left, 1 - share, _POINTS) + np.bincount(left + 1, share, _POINTS)
    curve = ndimage.gaussian_filter1d(counts, width / step, mode="constant", truncate=_REACH + 1)
    return Density(grid, curve / (values.size * step))


def fit_mixture(values: FloatArray) -> Mixture | None:
    """Return two normal distributions fitted to the histogram, or None where they cannot be told apart.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Intensities.

    Notes
    -----
    Expectation and maximisation over 512 bins between percentiles 0.1 and 99.9, from Otsu's threshold.

    References
    ----------
    Dempster, Laird and Rubin (1977), J R Stat Soc B 39:1-38.
    """
    low, high = np.percentile(values, (0.1, 99.9))
    if not high > low:
        return None
    weights, edges = np.histogram(np.clip(values, low, high), _MIXTURE_BINS, (low, high))
    x = (edges[:-1] + edges[1:]) / 2
    weights = weights.astype(np.float64)
    total, bin_width = weights.sum(), float(edges[1] - edges[0])
    cut = otsu_threshold(np.clip(values, low, high))
    member = np.where(x < cut, 0.95, 0.05)
    before = -np.inf
    for _ in range(_MOST_STEPS):
        mass = np.array([weights @ member, weights @ (1 - member)])
        if mass.min() < 1:
            return None
        means = np.array([weights * member @ x, weights * (1 - member) @ x]) / mass
        squares = [weights * member @ (x - means[0]) ** 2, weights * (1 - member) @ (x - means[1]) ** 2]
        deviations = np.sqrt(np.maximum(np.array(squares) / mass, bin_width**2))
        shares = mass / total
        parts = shares[:, None] * stats.norm.pdf(x, means[:, None], deviations[:, None])
        both = np.maximum(parts.sum(axis=0), np.finfo(float).tiny)
        member = parts[0] / both
        likelihood = float(weights @ np.log(both))
        if abs(likelihood - before) < _SAME * total:
            break
        before = likelihood
    mean = float(weights @ x / total)
    deviation = max(float(np.sqrt(weights @ (x - mean) ** 2 / total)), bin_width)
    single = float(weights @ stats.norm.logpdf(x, mean, deviation))
    first, second = np.argsort(means)
    return Mixture(
        (float(means[first]), float(means[second])),
        (float(deviations[first]), float(deviations[second])),
        float(shares[first]),
        2 * (likelihood - single) - 3 * float(np.log(total)),
    )


def descriptions(thresholds: Sequence[float] = ()) -> dict[str, str]:
    """Return what each feature is, by name."""
    texts = {
        "Mean": "Mean of the intensities.",
        "StandardDeviation": "Their standard deviation, divided by the number of voxels less one.",
        "Skewness": "Third standardised moment.",
        "ExcessKurtosis": "Fourth standardised moment less 3.",
        "Entropy": f"Entropy of {ENTROPY_BINS} equal bins between percentiles 1 and 99, in bits.",
        "PeakPosition": "Intensity at the highest point of the kernel density.",
        "PeakHeight": "Kernel density at its highest point.",
        "PeakWidth": "Full width of the highest peak at half of its height.",
        "MixtureLowerMean": "Mean of the lower of two normal distributions fitted to the intensities.",
        "MixtureLowerStandardDeviation": "Standard deviation of the lower distribution.",
        "MixtureUpperMean": "Mean of the upper distribution.",
        "MixtureUpperStandardDeviation": "Standard deviation of the upper distribution.",
        "MixtureLowerFraction": "Share of the lower distribution.",
        "MixtureBicGain": "Bayes' information criterion of one distribution less that of two.",
    }
    found = {percentile(percent): f"Percentile {percent} of the intensities." for percent in PERCENTILES}
    for threshold in thresholds:
        for side in ("Below", "Above"):
            name = f"Fraction{side}{threshold:g}"
            found[name] = f"Fraction of the region with intensities {side.lower()} {threshold:g}."
    return found | texts


def unusable(values: FloatArray) -> str:
    """Say why intensities have no histogram; empty where they have."""
    if values.size < FEWEST_VOXELS:
        return f"The region has {values.size} voxels, fewer than {FEWEST_VOXELS}."
    if wrong := int(np.sum(~np.isfinite(values))):
        return f"{wrong} of the region's {values.size} voxels are not finite."
    if values.min() == values.max():
        return f"The image is constant in the region ({float(values[0]):g})."
    return ""


def _moments(values: FloatArray, thresholds: Sequence[float]) -> dict[str, float]:
    """Return all but the mixture."""
    found = dict(zip(map(percentile, PERCENTILES), np.percentile(values, PERCENTILES), strict=True))
    low, high = found[percentile(1)], found[percentile(99)]
    counts = np.histogram(np.clip(values, low, high), ENTROPY_BINS, (low, high))[0] if high > low else [1]
    moments = (
        np.mean(values),
        np.std(values, ddof=1),
        stats.skew(values),
        stats.kurtosis(values),
        stats.entropy(counts, base=2),
    )
    found |= dict(zip(_MOMENTS, moments, strict=True))
    for threshold in thresholds:
        found[f"FractionBelow{threshold:g}"] = np.mean(values < threshold)
        found[f"FractionAbove{threshold:g}"] = np.mean(values > threshold)
    return {name: float(value) for name, value in found.items()}


def _names(thresholds: Sequence[float], unit: str) -> list[tuple[str, str]]:
    """Return every feature with its unit, in the order of the table."""
    units = {"Skewness": "", "ExcessKurtosis": "", "Entropy": "bit", "PeakHeight": f"1/{unit}"}
    units |= {"MixtureLowerFraction": "", "MixtureBicGain": ""}
    names = [percentile(percent) for percent in PERCENTILES]
    fractions = [f"Fraction{side}{threshold:g}" for threshold in thresholds for side in ("Below", "Above")]
    units |= dict.fromkeys(fractions, "")
    return [(name, units.get(name, unit)) for name in (*names, *_MOMENTS, *_PEAK, *fractions, *_MIXTURE)]
