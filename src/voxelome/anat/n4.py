"""N4: a smooth bias field, found by sharpening the histogram of the logarithm of the intensities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline

from voxelome.imageio import FloatArray, MaskArray

_DEGREE = 3
_BINS = 200
_FWHM = 0.15
_WIENER_NOISE = 0.01
_TINY = 1e-12


@dataclass(frozen=True)
class SmoothField:
    """Logarithm of a field: a sum of cubic B-splines over the image, one lattice of coefficients a level."""

    lattices: list[FloatArray]

    def on_grid(self, places: Sequence[FloatArray]) -> FloatArray:
        """Values where the three axes, as shares 0..1 of the image's extent, have these places."""
        total = np.zeros([len(axis) for axis in places])
        for lattice in self.lattices:
            bases = [_basis(axis, n - _DEGREE) for axis, n in zip(places, lattice.shape, strict=True)]
            total += _tensor(lattice, [basis.T for basis in bases])
        return total


def fit_n4(
    logarithm: FloatArray,
    mask: MaskArray,
    places: Sequence[FloatArray],
    *,
    iterations: Sequence[int],
    tolerance: float = 1e-6,
) -> SmoothField:
    """Field of N4 (Tustison et al., IEEE Trans Med Imaging 29:1310, 2010).

    The same as ITK's filter, but for the fit of the splines: the samples lie on a grid, so the sums over
    the voxels (Lee et al., IEEE Trans Vis Comput Graph 3:228, 1997) are separable and take
    three small matrix products instead of 64 terms a voxel. That is tens of times faster.

    Parameters
    ----------
    logarithm : ndarray, shape (x, y, z)
        Natural logarithm of the intensities; only values in the mask count.
    mask : ndarray of bool, shape (x, y, z)
    places : sequence of 3 ndarrays
        Where each axis' samples lie, as shares 0..1 of the extent over which the splines are laid.
    iterations : sequence of int
        Most iterations of each level. The first level has one spline element along each axis, each other one
        twice as many as the one before.
    tolerance : float
        A level ends when the field's relative change varies less than this over the mask.
    """
    x, y, z = (slice(int(part.min()), int(part.max()) + 1) for part in np.nonzero(mask))
    inside = mask[x, y, z]
    axes = [axis[part] for axis, part in zip(places, (x, y, z), strict=True)]
    measured = logarithm[x, y, z][inside].astype(np.float64)
    field = np.zeros_like(measured)
    volume = np.zeros(inside.shape)
    lattices = []
    for level, most in enumerate(iterations):
        fit = _GridFit(axes, inside, 2**level)
        total = np.zeros(fit.shape)
        for _ in range(most):
            corrected = measured - field
            volume[inside] = corrected - sharpened(corrected)
            update = fit.lattice(volume)
            change = fit.values(update)[inside]
            total += update
            field += change
            ratio = np.exp(change)
            if ratio.std() / ratio.mean() < tolerance:
                break
        lattices.append(total)
    return SmoothField(lattices)


def sharpened(values: FloatArray) -> FloatArray:
    """Expected values without the blur that a bias field adds to their histogram.

    The step of N3 (Sled et al., IEEE Trans Med Imaging 17:87, 1998): the histogram is deconvolved by a
    Gaussian of 0.15 (full width at half maximum) with a Wiener filter, and each value becomes the mean of
    the sharp ones that the blur could have brought to it.
    """
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return values
    step = (high - low) / (_BINS - 1)
    position = (values - low) / step
    first = np.minimum(position.astype(np.intp), _BINS - 2)
    share = position - first
    histogram = np.bincount(first, 1 - share, _BINS) + np.bincount(first + 1, share, _BINS)
    size = 1 << (int(np.ceil(np.log2(_BINS))) + 1)
    offset = (size - _BINS) // 2
    padded = np.zeros(size)
    padded[offset : offset + _BINS] = histogram
    width = _FWHM / step
    lag = np.minimum(np.arange(size), size - np.arange(size))
    blur = np.fft.rfft(2 * np.sqrt(np.log(2) / np.pi) / width * np.exp(-4 * np.log(2) * (lag / width) ** 2))
    wiener = (blur.conj() / (blur.conj() * blur + _WIENER_NOISE)).real
    sharp = np.clip(np.fft.irfft(np.fft.rfft(padded) * wiener, size), 0, None)
    centre = low + (np.arange(size) - offset) * step
    top = np.fft.irfft(np.fft.rfft(centre * sharp) * blur, size)
    bottom = np.fft.irfft(np.fft.rfft(sharp) * blur, size)
    expected = np.where(bottom > _TINY, top / np.where(bottom > _TINY, bottom, 1), centre)
    expected = expected[offset : offset + _BINS]
    result: FloatArray = expected[first] * (1 - share) + expected[first + 1] * share
    return result


class _GridFit:
    """Approximation of samples on a grid by cubic B-splines (Lee 1997, equations 4 and 5)."""

    def __init__(self, places: Sequence[FloatArray], inside: MaskArray, elements: int) -> None:
        self._bases = [_basis(axis, elements) for axis in places]
        self.shape = tuple(basis.shape[1] for basis in self._bases)
        squares = [basis**2 for basis in self._bases]
        self._cubes = [
            basis**3 / s.sum(axis=1, keepdims=True) for basis, s in zip(self._bases, squares, strict=True)
        ]
        self._bottom = _tensor(inside.astype(np.float64), squares)

    def lattice(self, samples: FloatArray) -> FloatArray:
        """Coefficients for samples that are 0 outside of the mask."""
        top = _tensor(samples, self._cubes)
        known = self._bottom > _TINY
        return np.where(known, top / np.where(known, self._bottom, 1), 0)

    def values(self, lattice: FloatArray) -> FloatArray:
        """Splines' values on the grid."""
        return _tensor(lattice, [basis.T for basis in self._bases])


def _basis(places: FloatArray, elements: int) -> FloatArray:
    """Values of the uniform cubic B-splines over 0..1, shape (place, elements + 3)."""
    knots = np.arange(-_DEGREE, elements + _DEGREE + 1) / elements
    inner = np.clip(places, 0, 1 - 1e-9)
    basis: FloatArray = BSpline.design_matrix(inner, knots, _DEGREE).toarray()
    return basis


def _tensor(values: FloatArray, bases: Sequence[FloatArray]) -> FloatArray:
    """Sum over all three axes of values times the bases, each of shape (axis, new axis)."""
    for basis in bases:
        values = np.tensordot(values, basis, axes=(0, 0))
    return values
