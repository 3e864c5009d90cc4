"""What the configuration of a MONAI bundle says about its network; its expressions are not evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from voxelome.errors import InputError, listed
from voxelome.imageio import load_json
from voxelome.segmentation.importers.export import FAILURES

Gain = tuple[float, float]

# Transforms that change neither intensities nor grid.
HARMLESS = {"LoadImaged", "EnsureChannelFirstd", "AddChanneld", "EnsureTyped", "ToTensord", "CropForegroundd"}
# They take their figures from the image, of all channels together unless they are told otherwise.
MEASURING = {"NormalizeIntensityd", "ScaleIntensityd", "ScaleIntensityRangePercentilesd"}
GRID = {"Orientationd", "Spacingd"}


def read_configuration(root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Content of configs/metadata.json, and of configs/inference.json (empty where there is none)."""
    inference = root / "configs" / "inference.json"
    return load_json(root / "configs" / "metadata.json"), load_json(inference) if inference.is_file() else {}


def transforms(configuration: Mapping[str, Any], part: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and settings of each transform of ``preprocessing`` or ``postprocessing``."""
    composed = configuration.get(part)
    held = composed.get("transforms") if isinstance(composed, Mapping) else None
    for item in held if isinstance(held, list) else []:
        if isinstance(item, Mapping) and not _true(item.get("_disabled_")):
            yield str(item.get("_target_")).rsplit(".", 1)[-1], item


def data_format(path: Path, metadata: Mapping[str, Any], side: str) -> Mapping[str, Any]:
    """Description of the one input or output in ``network_data_format``.

    Raises
    ------
    InputError
        There is none, or there are several.
    """
    held = metadata.get("network_data_format", {}).get(side, {})
    if not isinstance(held, Mapping) or len(held) != 1:
        problem = f"describes {len(held)} {side} of the network, not one"
        raise InputError(path, problem, f"give {side} in the network's entry")
    described: Mapping[str, Any] = next(iter(held.values()))
    return described


def channel_names(path: Path, described: Mapping[str, Any], side: str) -> list[str]:
    """Names of the channels in their order, from ``channel_def``."""
    named = described.get("channel_def")
    if not isinstance(named, Mapping) or set(named) != {str(index) for index in range(len(named))}:
        problem = f"does not name the channels of its {side}"
        raise InputError(path, problem, f"give {side} in the network's entry")
    return [str(named[str(index)]) for index in range(len(named))]


def scaling(path: Path, configuration: Mapping[str, Any], channels: int) -> tuple[dict[str, Any], Gain]:
    """How intensities are scaled, as fields of an input, and the gain and offset that follow.

    Raises
    ------
    InputError
        The transforms are not known here, none or several of them scale, or they mix channels.
    """
    remedy = "give inputs in the network's entry"
    scalings = [item for item in transforms(configuration, "preprocessing") if item[0] not in HARMLESS | GRID]
    if len(scalings) != 1:
        names = listed(name for name, _ in scalings) or "no transform"
        raise InputError(path, f"scales intensities by {names}; one was expected", remedy)
    name, settings = scalings[0]
    if channels > 1 and name in MEASURING and not _true(settings.get("channel_wise")):
        raise InputError(path, "scales all channels together", remedy)
    if name == "NormalizeIntensityd" and not {"subtrahend", "divisor"} & set(settings):
        # What is not zero is the brain in images that show nothing else.
        region = "brain" if _true(settings.get("nonzero")) else "image"
        return {"rule": "zscore", "region": region}, (1.0, 0.0)
    try:
        if name == "ScaleIntensityRanged":
            return _window(path, settings)
        to_one = name == "ScaleIntensityRangePercentilesd" and not _true(settings.get("relative"))
        if to_one and (settings["b_min"], settings["b_max"]) == (0, 1):
            clip = {"clip": [0.0, 1.0]} if _true(settings.get("clip")) else {}
            limits = {"low": float(settings["lower"]), "high": float(settings["upper"])}
            return {"rule": "percentile", "region": "image", **limits, **clip}, (1.0, 0.0)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(path, f"{name} lacks a number ({error})", remedy) from error
    if name == "ScaleIntensityd" and {"minv", "maxv", "factor"}.isdisjoint(settings):
        return {"rule": "percentile", "region": "image", "low": 0.0, "high": 100.0}, (1.0, 0.0)
    raise InputError(path, f"scales intensities by {name} in a way that is not known here", remedy)


def _window(path: Path, settings: Mapping[str, Any]) -> tuple[dict[str, Any], Gain]:
    """A range that is brought to another one, with what is outside clipped."""
    if not _true(settings.get("clip")):
        raise InputError(path, "scales a range without clipping", "give inputs in the network's entry")
    low, high = float(settings["a_min"]), float(settings["a_max"])
    least, most = float(settings["b_min"]), float(settings["b_max"])
    window = {"rule": "window", "region": "image", "windows": [[(low + high) / 2, high - low]]}
    return window, (most - least, least)


def grid_fields(configuration: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    """Those of orientation, spacing, patch and overlap that the configuration says in plain values."""
    found: dict[str, Any] = {}
    inferer = configuration.get("inferer")
    inferer = inferer if isinstance(inferer, Mapping) else {}
    for patch in (inferer.get("roi_size"), described.get("spatial_shape")):
        if isinstance(patch, Sequence) and len(patch) == 3 and all(isinstance(size, int) for size in patch):
            found.setdefault("patch", list(patch))
    if isinstance(inferer.get("overlap"), float):
        found["overlap"] = inferer["overlap"]
    for name, settings in transforms(configuration, "preprocessing"):
        if name == "Orientationd" and isinstance(settings.get("axcodes"), str):
            found["orientation"] = settings["axcodes"]
        spacing = settings.get("pixdim")
        if name == "Spacingd" and isinstance(spacing, list) and len(spacing) == 3:
            found["spacing"] = [float(size) for size in spacing]
    return found


def activation(configuration: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """What makes probabilities, from the postprocessing or a first channel of that name; None if unknown."""
    for name, settings in transforms(configuration, "postprocessing"):
        if name == "Activationsd":
            for kind in ("softmax", "sigmoid"):
                if _true(settings.get(kind)):
                    return kind
    return "softmax" if names[0].casefold() == "background" else None


def build_network(path: Path, configuration: Mapping[str, Any]) -> Any:
    """Network of ``network_def`` with random weights: a class of monai.networks.nets with plain settings.

    Raises
    ------
    InputError
        There is no such description, it names another class, or it holds expressions.
    """
    import torch
    from monai.networks import nets

    described = configuration.get("network_def")
    if not isinstance(described, Mapping) or "_target_" not in described:
        raise InputError(path, "describes no network (network_def)", "give models/model.ts in the bundle")
    target = str(described["_target_"])
    place, _, name = target.rpartition(".")
    made = getattr(nets, name, None)
    ours = place in ("", "monai.networks.nets") or place.startswith("monai.networks.nets.")
    if not (ours and isinstance(made, type) and issubclass(made, torch.nn.Module)):
        problem = f"builds its network with {target}, which is no network of MONAI"
        raise InputError(path, problem, "give models/model.ts in the bundle: nothing else of it is run")
    settings = {key: value for key, value in described.items() if not key.startswith("_")}
    odd = [text for text in _texts(settings) if text.startswith(("$", "@", "%"))]
    if odd or _true(settings.get("pretrained")):
        problem = f"network_def holds {listed(odd) or 'pretrained'}, which would run or load something"
        raise InputError(path, problem, "write plain values there")
    try:
        return made(**settings)
    except FAILURES as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(path, f"describes no {name} ({reason})", "mend network_def") from error


def _texts(value: object) -> Iterator[str]:
    """All texts in nested settings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield str(key)
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _true(value: object) -> bool:
    """Whether a setting is true, also as text."""
    return value is True or str(value).casefold() == "true"
