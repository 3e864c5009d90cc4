"""Settings of the images and regions that features are measured on: what makes them comparable, or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from voxelome.columns import FEATURE_KEYS, SEPARATOR
from voxelome.provenance import file_digest

PREPARED, REGISTERED, RECONSTRUCTED = "Prepared images", "Registered images", "Susceptibility and SWI"
# Checksums of the networks that drew regions; how regions were made out of others.
NETWORKS, MADE = "Networks", "Regions made of others"
# Of register: other settings change no value on the reference's grid.
_OF_VALUES = ("transform", "normalisation")
# What qsm makes of a gradient echo.
_MAPS = ("Chimap", "R2starmap", "T2starmap", "S0map", "swi", "minIP")


def image_settings(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Settings that change the values which features are taken of, and how regions are made of others.

    Parameters
    ----------
    config : mapping
        The settings of a run.
    """
    register = config["register"]
    scale = {"landmarks": file_digest(Path(register["landmarks"]))} if register["landmarks"] else {}
    made = [*config["segment"]["fusions"], *config["radiomics"]["regions"]]
    return {
        PREPARED: dict(config["preprocess"]),
        REGISTERED: {**{key: register[key] for key in _OF_VALUES}, **scale},
        RECONSTRUCTED: dict(config["qsm"]),
        MADE: {one["name"]: {key: value for key, value in one.items() if key != "name"} for one in made},
    }


def settings_behind(made_with: Mapping[str, Any], features: Iterable[str]) -> dict[str, Any]:
    """Settings that these features depend on.

    Those of susceptibility only where one is of such a map; networks, and regions made of others, only where
    one is measured in what they drew.

    Parameters
    ----------
    made_with : mapping
        As :func:`image_settings` gives, among others.
    features : iterable of str
        Names of columns.
    """
    parts = [dict(zip(FEATURE_KEYS, name.split(SEPARATOR), strict=False)) for name in features]
    maps = any(part["image"].endswith(_MAPS) for part in parts)
    found = {kind: value for kind, value in made_with.items() if maps or kind != RECONSTRUCTED}
    made, networks = found.get(MADE, {}), found.get(NETWORKS, {})
    regions = _with_sources({part["roi"] for part in parts if "roi" in part}, made)
    for kind, named in ((MADE, made), (NETWORKS, networks)):
        if kind in found:
            found[kind] = {name: value for name, value in named.items() if _draws(name, regions)}
    return found


def _with_sources(regions: set[str], made: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Names and patterns of these regions, and of those that they were made of."""
    known: set[str] = set()
    while regions != known:
        known = regions
        for name, recipe in made.items():
            if _draws(name, known):
                regions = regions.union(*map(_words, recipe.values()))
    return known


def _words(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value if isinstance(value, list) else []


def _draws(name: str, regions: Iterable[str]) -> bool:
    """Whether one of the regions, or patterns of regions, is what has this name, or a label of it."""
    return any(
        fnmatchcase(name, region) or region.startswith(f"{name}-") or fnmatchcase(f"{name}-", region)
        for region in regions
    )


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
