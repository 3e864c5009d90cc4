"""Whether the engine that is installed here computes what it should, asked before every use."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, MaskArray
from voxelome.radiomics.settings import RadiomicsSettings

SETTINGS = {
    "pyradiomics": RadiomicsSettings(
        bin_width=25.0,
        bin_count=None,
        image_types={"Original": {}, "LoG": {"sigma": [1.5]}, "Wavelet": {}},
    ),
    "mirp": RadiomicsSettings(bin_width=None, bin_count=16),
}
# Compilers differ in the last digits; a wrong build is far beyond.
TOLERANCE = 1e-6
_SHAPE = (17, 16, 14)
_AFFINE: Affine = np.diag([1.0, 1.25, 2.0, 1.0])


def phantom() -> tuple[Array, MaskArray, Affine]:
    """Return image, region and affine: whole numbers from a formula, the same on every machine."""
    x, y, z = np.indices(_SHAPE)
    image = (7 * x * x + 5 * x * y + 3 * y * z * z + 11 * z) % 97 + 12 * x + 5 * z
    region = 3 * (x - 8) ** 2 + 4 * (y - 7) ** 2 + 5 * (z - 6) ** 2 + x * y % 5 < 90
    return image.astype(np.float32), region, _AFFINE


def computed(engine: str = "pyradiomics") -> dict[str, float | None]:
    """Return every feature of the phantom, by ``<filter>_<class>_<feature>`` as PyRadiomics writes it."""
    if engine == "mirp":
        from voxelome.radiomics.ibsi_engine import extract_regions, shape_features
    else:
        from voxelome.radiomics.extract import extract_regions, shape_features
    image, region, affine = phantom()
    settings = SETTINGS[engine]
    values = shape_features(region, affine, settings)
    values += extract_regions(image, {"phantom": region}, affine, settings)["phantom"].values
    return {f"{item.filter}_{item.feature_class}_{item.feature}": item.value for item in values}


@lru_cache(maxsize=2)
def check_engine(engine: str = "pyradiomics") -> int:
    """Compare the features of the phantom with those of a known good build; return how many.

    Parameters
    ----------
    engine : {'pyradiomics', 'mirp'}
        Which engine.

    Raises
    ------
    DataError
        A feature is missing or differs: the engine, or a library that it stands on, is not as it should be.
    """
    folder = files("voxelome.radiomics")
    stored = json.loads(folder.joinpath(f"selfcheck_{engine}.json").read_text(encoding="utf-8"))
    found = computed(engine)
    wrong = [
        name
        for name, value in stored.items()
        if (seen := found.get(name)) is None or abs(seen - value) > TOLERANCE * max(abs(value), 1e-3)
    ]
    if wrong:
        first = wrong[0]
        raise DataError(
            f"the engine {engine} gets {len(wrong)} of {len(stored)} features of its test image wrong "
            f"({first} is {found.get(first)} and should be {stored[first]})",
            "install voxelome's pinned environment again (the engine, SimpleITK, PyWavelets, numpy)",
        )
    return len(stored)
