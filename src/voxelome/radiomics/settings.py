"""How features are computed, in the words of PyRadiomics' parameter files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from voxelome.errors import DataError, suggest

TEXTURES = ("glcm", "glrlm", "glszm", "gldm", "ngtdm")
CLASSES = ("firstorder", *TEXTURES)
SHAPES = ("shape", "shape2D")
IMAGE_TYPES = (
    "Original",
    "LoG",
    "Wavelet",
    "Square",
    "SquareRoot",
    "Logarithm",
    "Exponential",
    "Gradient",
    "LBP3D",
)
# A co-occurrence matrix takes memory with the square of the gray levels, in each of 13 directions.
MAXIMUM_LEVELS = 1024
# What PyRadiomics takes where a parameter file gives neither a width nor a count.
DEFAULT_BIN_WIDTH = 25.0
# The caller decides these: which region, on which grid, and what is logged.
NOT_USED = ("label", "label_channel", "geometryTolerance", "correctMask", "additionalInfo")


@dataclass(frozen=True)
class RadiomicsSettings:
    """How features are computed.

    Attributes
    ----------
    bin_width : float or None
        Width of a gray level in the unit of the image.
    bin_count : int or None
        Number of gray levels between the extremes of the region. Exactly one of the two is given.
    classes : tuple of str
        Feature classes, out of :data:`CLASSES`, in the order wanted.
    minimum_voxels : int
        A region with fewer voxels has no features.
    image_types : mapping
        Derived images, out of :data:`IMAGE_TYPES`, each with settings of its own.
    shapes : tuple of str
        Classes of the region's shape: ``shape``, ``shape2D`` or none.
    features : mapping
        Features wanted of a class; a class that is not named gives all.
    options : mapping
        Other settings by PyRadiomics' names, such as ``normalize``, ``resampledPixelSpacing`` or ``force2D``.
    """

    bin_width: float | None
    bin_count: int | None
    classes: tuple[str, ...] = CLASSES
    minimum_voxels: int = 10
    image_types: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"Original": {}})
    shapes: tuple[str, ...] = ("shape",)
    features: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.bin_width is None) == (self.bin_count is None):
            seen = f"gray levels have a width of {self.bin_width} and a count of {self.bin_count}"
            raise DataError(seen, "give one of the two")
        if self.bin_width is not None and not 0 < self.bin_width < np.inf:
            raise DataError(f"a gray level is {self.bin_width} wide", "give a positive bin width")
        if unknown := [name for name in self.classes if name not in CLASSES]:
            remedy = f"choose among {', '.join(CLASSES)}"
            raise DataError(f"there is no feature class {', '.join(unknown)}", remedy)
        if unknown := [name for name in self.image_types if name not in IMAGE_TYPES]:
            remedy = f"choose among {', '.join(IMAGE_TYPES)}"
            raise DataError(f"image type {', '.join(unknown)} is not offered", remedy)
        for count in [self.bin_count, *(own.get("binCount") for own in self.image_types.values())]:
            if count is not None and not 2 <= count <= MAXIMUM_LEVELS:
                raise DataError(
                    f"there are {count} gray levels", f"give a bin count of 2 to {MAXIMUM_LEVELS}"
                )
        if "LoG" in self.image_types and not self.of("LoG").get("sigma"):
            raise DataError("image type LoG has no sigma", "give its widths in mm, such as sigma: [1, 3, 5]")
        if self.options.get("resegmentShape"):
            problem = "resegmentShape is on, but the shape of a region is measured once for all images"
            raise DataError(problem, "take it out, or give the resegmented mask")

    @property
    def binning(self) -> dict[str, Any]:
        """The gray levels, as PyRadiomics names them."""
        return {"binWidth": self.bin_width} if self.bin_count is None else {"binCount": self.bin_count}

    def of(self, image_type: str) -> dict[str, Any]:
        """All settings of one image type by PyRadiomics' names; its own go before the general ones."""
        own = self.image_types.get(image_type, {})
        return {**self.binning, **self.options, **own}

    @property
    def resamples(self) -> bool:
        """Whether image and region are brought to another voxel size."""
        has = self.options.get("interpolator", "sitkBSpline") is not None
        return has and self.options.get("resampledPixelSpacing") is not None


def from_parameters(content: Any) -> RadiomicsSettings:
    """Return the settings of a parameter file of PyRadiomics.

    Parameters
    ----------
    content : mapping
        What the file holds: ``setting``, ``imageType``, ``featureClass``, ``voxelSetting``.

    Raises
    ------
    DataError
        A key is unknown (the nearest one is named), or a value is not what PyRadiomics' own schema allows.
    """
    if not isinstance(content, Mapping):
        raise DataError("it holds no settings", "give imageType, featureClass and setting")
    _check_keys(content)
    _check_values(dict(content))
    options = {key: value for key, value in (content.get("setting") or {}).items() if key not in NOT_USED}
    width, count = options.pop("binWidth", None), options.pop("binCount", None)
    if count is None and width is None:
        width = DEFAULT_BIN_WIDTH
    asked = content.get("featureClass") or dict.fromkeys((*CLASSES, "shape"))
    types = content.get("imageType") or {"Original": {}}
    return RadiomicsSettings(
        # PyRadiomics lets the count go first.
        bin_width=None if count is not None else float(width),
        bin_count=count,
        classes=tuple(name for name in asked if name not in SHAPES),
        # PyRadiomics refuses a region of just the minimum size, too.
        minimum_voxels=options.pop("minimumROISize", 1) + 1,
        image_types={name: dict(own or {}) for name, own in types.items()},
        shapes=tuple(name for name in asked if name in SHAPES),
        features={name: tuple(chosen) for name, chosen in asked.items() if chosen},
        options=options,
    )


def chosen_settings(
    content: Mapping[str, Any] | None, bin_width: float, bin_count: int, minimum_voxels: int
) -> RadiomicsSettings:
    """Return the settings of a parameter file, or where there is none those of the gray levels given.

    Parameters
    ----------
    content : mapping, optional
        As in :func:`from_parameters`.
    bin_width, bin_count : float, int
        Gray levels; a width of 0 leaves the choice to the count.
    minimum_voxels : int
        A region with fewer voxels has no features.

    Raises
    ------
    DataError
        As :func:`from_parameters` does.
    """
    if content is not None:
        return from_parameters(content)
    return RadiomicsSettings(
        bin_width or None, None if bin_width else bin_count, minimum_voxels=minimum_voxels
    )


def unused_parameters(content: Mapping[str, Any]) -> list[str]:
    """Return what a parameter file sets and voxelome decides by itself."""
    unused = [key for key in NOT_USED if key in (content.get("setting") or {})]
    return unused + [key for key in ("voxelBatch", "initValue") if key in (content.get("voxelSetting") or {})]


def _check_keys(content: Mapping[str, Any]) -> None:
    """Raise where a key is unknown, and name the nearest."""
    from radiomics import getFeatureClasses, getImageTypes

    schema = _schema()
    known = schema["mapping"]["setting"]["mapping"]
    classes = getFeatureClasses()
    _known(content, schema["mapping"], "section")
    _known(content.get("setting") or {}, known, "setting")
    _known(content.get("imageType") or {}, getImageTypes(), "image type")
    for name, own in (content.get("imageType") or {}).items():
        _known(own or {}, known, f"setting of image type {name}")
    _known(content.get("featureClass") or {}, classes, "feature class")
    for name, chosen in (content.get("featureClass") or {}).items():
        _known(chosen or [], classes[name].getFeatureNames(), f"{name} feature")


def _known(names: Iterable[Any], known: Iterable[str], what: str) -> None:
    listed = list(known)
    for name in names:
        if name not in listed:
            raise DataError(f"there is no {what} {name!r}", suggest(str(name), listed))


def _schema() -> Any:
    """PyRadiomics' schema of parameter files."""
    import yaml
    from radiomics import getParameterValidationFiles

    return yaml.safe_load(Path(getParameterValidationFiles()[0]).read_text(encoding="utf-8"))


def _check_values(content: dict[str, Any]) -> None:
    """Raise where a value is not what PyRadiomics' schema allows."""
    import logging

    from pykwalify.core import Core
    from pykwalify.errors import PyKwalifyException
    from radiomics import getParameterValidationFiles

    logging.getLogger("pykwalify").setLevel(logging.CRITICAL + 1)
    schema, functions = getParameterValidationFiles()
    try:
        Core(source_data=content, schema_files=[schema], extensions=[functions]).validate()
    except (PyKwalifyException, TypeError, ValueError) as error:
        problem = " ".join(str(getattr(error, "msg", None) or error).split())
        raise DataError(problem, "see PyRadiomics' documentation of parameter files") from None
