"""Settings of the images and regions that features are measured on: what makes them comparable, or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from voxelome.columns import FEATURE_KEYS, HISTOGRAMS, OF_NETWORK, RADIOMICS, SEPARATOR
from voxelome.provenance import file_digest

PREPARED, REGISTERED, RECONSTRUCTED = "Prepared images", "Registered images", "Susceptibility and SWI"
# Checksums of the networks that drew regions; how regions were made out of others.
NETWORKS, MADE = "Networks", "Regions made of others"
# The sign belongs to a scanner; recipes of regions are compared one by one, under MADE.
_ELSEWHERE = {RECONSTRUCTED: ("phase_sign",), RADIOMICS: ("regions",)}
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
    """Settings that make these features comparable with others of the same names, or not.

    Those of susceptibility, of histograms, and of what a network says of the case, only where one is such a
    feature; networks, and regions made of others, only where one is measured in what they drew. The sign of
    the phase is left out: it tells of the scanner.

    Parameters
    ----------
    made_with : mapping
        As :func:`image_settings` gives, among others.
    features : iterable of str
        Names of columns.
    """
    columns = [dict(zip(FEATURE_KEYS, name.split(SEPARATOR), strict=False)) for name in features]
    behind = {}
    for kind, value in made_with.items():
        if _matters(kind, columns):
            dropped = _ELSEWHERE.get(kind, ())
            behind[kind] = {name: setting for name, setting in value.items() if name not in dropped}
    made = behind.get(MADE, {})
    regions = _with_sources({column["roi"] for column in columns if "roi" in column}, made)
    for kind in (MADE, NETWORKS):
        if kind in behind:
            behind[kind] = {name: value for name, value in behind[kind].items() if _draws(name, regions)}
    return behind


def _matters(kind: str, columns: Sequence[Mapping[str, str]]) -> bool:
    """Whether one of the features is of the kind that these settings are for."""
    if kind == RECONSTRUCTED:
        return any(column["image"].endswith(_MAPS) for column in columns)
    classes = [(column.get("class", ""), column.get("feature", "")) for column in columns]
    if kind == HISTOGRAMS:
        return any(name.endswith("histogram") for name, _ in classes)
    if kind.startswith(OF_NETWORK.partition("{}")[0]):
        said = {feature.partition("_")[0] for name, feature in classes if name == "network"}
        return any(kind == OF_NETWORK.format(network) for network in said)
    return True


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
