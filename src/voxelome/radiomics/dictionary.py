"""What each feature and each derived image is, by IBSI's codes where IBSI defines it.

The codes are those of the reference manuals of IBSI (Zwanenburg et al. 2020, Radiology 295:328-338; filters:
Whybra et al. 2024, Radiology 310:e231319); `docs/ibsi.md` compares the numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from voxelome.errors import DataError, suggest
from voxelome.radiomics.units import UNITS

_LAPLACIAN = re.compile(r"log-sigma-(\d+(?:-\d+)?)-mm-3D")
_WAVELET = re.compile(r"wavelet(\d*)-([LH]{1,3})")
_PATTERN = re.compile(r"lbp-3D-m(\d+)")
_LAPLACIAN_CODE, _WAVELET_CODE = "L6PA", "25BO"


@dataclass(frozen=True)
class FeatureDefinition:
    """What a feature is.

    Attributes
    ----------
    description : str
        One sentence.
    ibsi : str
        Four characters by which IBSI's manual names the feature; empty where it has none like it.
    deviation : str
        Where the number differs from what IBSI defines; empty where it does not.
    unit : str
        Unit; `intensity` stands for that of the image, empty for a pure number.
    """

    description: str
    ibsi: str
    deviation: str
    unit: str


@dataclass(frozen=True)
class FilterDefinition:
    """What a derived image is: one sentence, IBSI's code of the filter, and where it differs from IBSI's."""

    description: str
    ibsi: str = ""
    deviation: str = ""


_FILTERS = {
    "original": FilterDefinition("The image itself."),
    "square": FilterDefinition("Squared intensities, scaled so that the largest magnitude stays as it is."),
    "squareroot": FilterDefinition(
        "Square root of the magnitude with the sign of the intensity, scaled so that the largest magnitude "
        "stays as it is."
    ),
    "logarithm": FilterDefinition(
        "Logarithm of the magnitude plus 1 with the sign of the intensity, scaled so that the largest "
        "magnitude stays as it is."
    ),
    "exponential": FilterDefinition(
        "Exponential of the intensities, scaled so that the largest magnitude stays as it is."
    ),
    "gradient": FilterDefinition("Magnitude of the gradient by central differences."),
    "lbp-3D-k": FilterDefinition("Excess kurtosis of the intensities on a sphere around the voxel."),
}


def definition(feature_class: str, feature: str) -> FeatureDefinition:
    """Return what a feature is.

    Parameters
    ----------
    feature_class, feature : str
        Class and feature by PyRadiomics' names.

    Raises
    ------
    DataError
        There is no such feature.
    """
    known = _definitions()
    if (feature_class, feature) not in known:
        problem = f"there is no definition of the feature {feature_class} {feature}"
        raise DataError(problem, suggest(feature, [name for kind, name in known if kind == feature_class]))
    return known[feature_class, feature]


def defined_features(feature_class: str) -> list[str]:
    """Return the features of a class that have a definition."""
    return [name for kind, name in _definitions() if kind == feature_class]


def dictionary(features: Iterable[tuple[str, str]]) -> dict[str, dict[str, dict[str, str]]]:
    """Return the definitions of features for a data dictionary.

    Parameters
    ----------
    features : iterable of (str, str)
        Class and feature, in the order wanted; any may come several times.

    Returns
    -------
    dict
        For each class and feature `Description`, `IBSI`, `Unit` and `Deviation`, all of them texts.
    """
    table: dict[str, dict[str, dict[str, str]]] = {}
    for feature_class, feature in features:
        found = definition(feature_class, feature)
        table.setdefault(feature_class, {})[feature] = {
            "Description": found.description,
            "IBSI": found.ibsi,
            "Unit": found.unit,
            "Deviation": found.deviation,
        }
    return table


def filter_description(name: str) -> FilterDefinition:
    """Return what a derived image is.

    Parameters
    ----------
    name : str
        Name by PyRadiomics, such as `original`, `log-sigma-2-0-mm-3D` or `wavelet-LLH`.

    Raises
    ------
    DataError
        There is no such derived image.
    """
    if name in _FILTERS:
        return _FILTERS[name]
    if found := _LAPLACIAN.fullmatch(name):
        width = found[1].replace("-", ".")
        return FilterDefinition(
            f"Laplacian of a Gaussian with a standard deviation of {width} mm, times its square.",
            _LAPLACIAN_CODE,
            "IBSI does not multiply by the square. Its kernel is a truncated Gaussian, this one a recursion "
            "that comes close to a Gaussian, and beyond the border the image goes on as it ends.",
        )
    if found := _WAVELET.fullmatch(name):
        level, letters = int(found[1] or 1), found[2]
        return FilterDefinition(
            f"Band {letters} on level {level} of an undecimated wavelet transform: low (L) or high (H) pass "
            "along each array axis in turn.",
            _WAVELET_CODE,
            "IBSI spreads the filter from level to level, here it stays as it is." if level > 1 else "",
        )
    if found := _PATTERN.fullmatch(name):
        degree = int(found[1]) - 1
        return FilterDefinition(
            f"Size of the spherical harmonics of degree {degree} of the local binary pattern: where on a "
            "sphere around the voxel the intensity is not below its own."
        )
    raise DataError(f"there is no derived image {name}", suggest(name, list(_FILTERS)))


@cache
def _definitions() -> dict[tuple[str, str], FeatureDefinition]:
    """Return the definitions by class and feature."""
    text = resources.files("voxelome.radiomics").joinpath("dictionary.json").read_text(encoding="utf-8")
    return {
        (kind, name): FeatureDefinition(
            description=entry["description"],
            ibsi=entry["ibsi"],
            deviation=entry.get("deviation", ""),
            unit=UNITS.get((kind, name), ""),
        )
        for kind, entries in json.loads(text).items()
        for name, entry in entries.items()
    }
