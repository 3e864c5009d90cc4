"""Settings of the images that features are measured on: what makes them comparable, or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from voxelome.columns import SEPARATOR
from voxelome.provenance import file_digest

PREPARED, REGISTERED, RECONSTRUCTED = "Prepared images", "Registered images", "Susceptibility and SWI"
# Of register: other settings change no value on the reference's grid.
_OF_VALUES = ("transform", "normalisation")
# What qsm makes of a gradient echo.
_MAPS = ("Chimap", "R2starmap", "T2starmap", "S0map", "swi", "minIP")


def image_settings(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings of preprocess, register and qsm that change the values which features are taken of.

    Parameters
    ----------
    config : mapping
        The settings of a run.
    """
    register = config["register"]
    scale = {"landmarks": file_digest(Path(register["landmarks"]))} if register["landmarks"] else {}
    return {
        PREPARED: dict(config["preprocess"]),
        REGISTERED: {**{key: register[key] for key in _OF_VALUES}, **scale},
        RECONSTRUCTED: dict(config["qsm"]),
    }


def settings_behind(made_with: Mapping[str, Any], features: Iterable[str]) -> dict[str, Any]:
    """Settings that these features depend on: those of susceptibility only where one is of such a map.

    Parameters
    ----------
    made_with : mapping
        As :func:`image_settings` gives, among others.
    features : iterable of str
        Names of columns.
    """
    maps = any(name.split(SEPARATOR)[0].endswith(_MAPS) for name in features)
    return {kind: value for kind, value in made_with.items() if maps or kind != RECONSTRUCTED}


def taught_by(config: Mapping[str, Any], dataset: str) -> list[str]:
    """Participants of this dataset whose images taught the standard scale of the intensities.

    Parameters
    ----------
    config : mapping
        The settings of a run.
    dataset : str
        Name of its dataset.
    """
    from voxelome.anat.landmarks import load_scale

    path = config["register"]["landmarks"]
    scale = load_scale(Path(path)) if path else None
    return list(scale.participants) if scale and scale.dataset == dataset else []
