"""Derived images of PyRadiomics, computed in a box around the regions and nowhere else.

Each gives the values, bit by bit, that PyRadiomics gives for the whole image (the tests compare them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pywt
import SimpleITK

from voxelome.imageio import Array, MaskArray
from voxelome.radiomics.checks import Box
from voxelome.radiomics.itk import Spacing, to_itk
from voxelome.radiomics.settings import RadiomicsSettings

# Central differences reach one voxel.
_GRADIENT_REACH = 1


@dataclass(frozen=True)
class DerivedImage:
    """A derived image in a box; `values` is None where it cannot be made, and `reason` then says why.

    `options` are the settings of its features by PyRadiomics' names.
    """

    name: str
    values: Array | None
    options: Mapping[str, Any]
    reason: str = ""


def derived_images(
    image: Array, region: MaskArray, spacing: Spacing, box: Box, settings: RadiomicsSettings
) -> Iterator[DerivedImage]:
    """Return the derived images one by one, so that only those of one wavelet level are in memory together.

    Parameters
    ----------
    image : ndarray, shape (z, y, x)
        Intensities.
    region : ndarray of bool, shape (z, y, x)
        All voxels of interest; local binary patterns have values there only.
    spacing : tuple of three float
        Voxel sizes in mm along z, y, x.
    box : tuple of three slice
        Where values are wanted.
    settings : RadiomicsSettings
        Image types and their settings.

    References
    ----------
    van Griethuysen et al. (2017), Cancer Research 77:e104-e107, for the names and definitions.
    """
    peak = max(float(image.max()), -float(image.min()))
    for kind in settings.image_types:
        options = settings.of(kind)
        if kind == "Original":
            yield DerivedImage("original", image[box], options)
        elif kind == "LoG":
            yield from _laplacians(image, spacing, box, options)
        elif kind == "Wavelet":
            yield from _wavelets(image, box, options)
        elif kind == "Gradient":
            yield DerivedImage("gradient", _gradient(image, spacing, box, options), options)
        elif kind == "LBP3D":
            yield from _binary_patterns(image, region, spacing, box, options)
        else:
            part = image[box].astype(np.float64)
            with np.errstate(all="ignore"):
                yield DerivedImage(kind.lower(), _POINTWISE[kind](part, peak), options)


def derived_names(settings: RadiomicsSettings) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the name and the settings of every derived image, without making one."""
    names: list[tuple[str, Mapping[str, Any]]] = []
    for kind in settings.image_types:
        options = settings.of(kind)
        if kind == "LoG":
            found = [_laplacian_name(sigma) for sigma in options["sigma"]]
        elif kind == "Wavelet":
            found = _wavelet_names(options)
        elif kind == "LBP3D":
            found = _pattern_names(options)
        else:
            found = [kind.lower()]
        names += [(name, options) for name in found]
    return names


def _laplacian_name(sigma: float) -> str:
    return f"log-sigma-{str(sigma).replace('.', '-')}-mm-3D"


def _laplacians(
    image: Array, spacing: Spacing, box: Box, options: Mapping[str, Any]
) -> Iterator[DerivedImage]:
    # Compiled code: studies without this image type start faster.
    from voxelome.radiomics.laplacian import SHORTEST_LINE, laplacian_of_gaussian

    for sigma in options["sigma"]:
        name = _laplacian_name(sigma)
        fewest = [max(SHORTEST_LINE, int(np.ceil(sigma / size)) + 1) for size in spacing]
        if any(count < least for count, least in zip(image.shape, fewest, strict=True)):
            size = " x ".join(map(str, image.shape[::-1]))
            least = " x ".join(map(str, fewest[::-1]))
            reason = f"The image ({size} voxels) is too small for a width of {sigma:g} mm ({least})."
            yield DerivedImage(name, None, options, reason)
        else:
            yield DerivedImage(name, laplacian_of_gaussian(image, spacing, sigma, box), options)


def _axes(options: Mapping[str, Any]) -> tuple[int, ...]:
    """Array axes that wavelets run along, in PyRadiomics' order."""
    flat = options.get("force2Ddimension", 0) if options.get("force2D") else None
    return tuple(axis for axis in (2, 1, 0) if axis != flat)


def _wavelet_names(options: Mapping[str, Any]) -> list[str]:
    count, levels = len(_axes(options)), options.get("level", 1)
    bands = ["".join(letters) for letters in product("LH", repeat=count)][1:]
    names = []
    for level in range(1, levels + 1):
        names += [f"wavelet{'' if level == 1 else level}-{band}" for band in bands]
    return [*names, f"wavelet{'' if levels == 1 else levels}-{'L' * count}"]


def _wavelets(image: Array, box: Box, options: Mapping[str, Any]) -> Iterator[DerivedImage]:
    """Undecimated wavelets; each level filters the last approximation again, without spreading the filter."""
    wavelet = pywt.Wavelet(options.get("wavelet", "coif1"))
    start, levels = options.get("start_level", 0), options.get("level", 1)
    axes = _axes(options)
    reach = (start + levels) * wavelet.dec_len
    data, inner = _periodic_part(image, box, reach)
    names = iter(_wavelet_names(options))
    approximation = "a" * len(axes)
    for level in range(start + levels):
        bands = pywt.swtn(data, wavelet, level=1, start_level=0, axes=axes)[0]
        data = bands.pop(approximation)
        if level >= start:
            # PyWavelets names the bands in the order in which PyRadiomics lists them.
            for band in sorted(bands):
                yield DerivedImage(next(names), bands[band][inner], options)
    yield DerivedImage(next(names), data[inner], options)


def _periodic_part(image: Array, box: Box, reach: int) -> tuple[Array, Box]:
    """Return a box of an image with `reach` voxels around it, of even size, and where the box lies in it.

    An image of odd size counts as longer by its first voxel, as in PyRadiomics. Where the box is near a
    border, the whole axis is taken: there the transform wraps around.
    """
    data, inner = image, []
    for axis, part in enumerate(box):
        length = image.shape[axis]
        low, high = part.start - reach, part.stop + reach
        high += (high - low) % 2
        if low < 0 or high > length:
            low = 0
            if length % 2:
                data = np.concatenate([data, data.take([0], axis=axis)], axis=axis)
        else:
            data = data[(slice(None),) * axis + (slice(low, high),)]
        inner.append(slice(part.start - low, part.stop - low))
    return data, (inner[0], inner[1], inner[2])


def _gradient(image: Array, spacing: Spacing, box: Box, options: Mapping[str, Any]) -> Array:
    """Magnitude of the gradient by central differences; the image goes on as it ends."""
    low = [max(part.start - _GRADIENT_REACH, 0) for part in box]
    wide = tuple(slice(at, part.stop + _GRADIENT_REACH) for at, part in zip(low, box, strict=True))
    gradient = SimpleITK.GradientMagnitude(
        to_itk(image[wide], spacing), options.get("gradientUseSpacing", True)
    )
    inner = tuple(slice(p.start - at, p.stop - at) for at, p in zip(low, box, strict=True))
    values: Array = SimpleITK.GetArrayFromImage(gradient)[inner]
    return values


def _square(part: Array, peak: float) -> Array:
    squared: Array = (1 / np.sqrt(peak) * part) ** 2
    return squared


def _square_root(part: Array, peak: float) -> Array:
    return _signed(part, lambda values: np.sqrt(values * peak))


def _logarithm(part: Array, peak: float) -> Array:
    scaled: Array = _signed(part, lambda values: np.log(values + 1)) * (peak / np.log(peak + 1))
    return scaled


def _exponential(part: Array, peak: float) -> Array:
    grown: Array = np.exp(np.log(peak) / peak * part)
    return grown


def _signed(part: Array, function: Callable[[Array], Array]) -> Array:
    """Apply a function to the magnitude and keep the sign."""
    result = part.copy()
    result[part > 0] = function(part[part > 0])
    result[part < 0] = -function(-part[part < 0])
    return result


_POINTWISE: dict[str, Callable[[Array, float], Array]] = {
    "Square": _square,
    "SquareRoot": _square_root,
    "Logarithm": _logarithm,
    "Exponential": _exponential,
}


def _pattern_names(options: Mapping[str, Any]) -> list[str]:
    levels = range(1, options.get("lbp3DLevels", 2) + 1)
    return [*(f"lbp-3D-m{level}" for level in levels), "lbp-3D-k"]


def _binary_patterns(
    image: Array, region: MaskArray, spacing: Spacing, box: Box, options: Mapping[str, Any]
) -> Iterator[DerivedImage]:
    """Local binary patterns on a sphere (Banerjee et al. 2013), computed by PyRadiomics."""
    from radiomics.imageoperations import getLBP3DImage

    whole, mask = (to_itk(array, spacing) for array in (image, region))
    made = getLBP3DImage(whole, mask, **{**options, "label": 1})
    for name in _pattern_names(options):
        # It gives none where a library that it needs is not there.
        if (result := next(made, None)) is None:
            reason = "PyRadiomics needs trimesh and SciPy before 1.17 for this."
            yield DerivedImage(name, None, options, reason)
        else:
            yield DerivedImage(name, SimpleITK.GetArrayFromImage(result[0])[box], options)
