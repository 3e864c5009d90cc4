"""What the JSON files of an nnU-Net v2 result folder say about its network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxelome.errors import InputError, listed
from voxelome.imageio import load_json
from voxelome.segmentation.importers.contrasts import named_inputs
from voxelome.segmentation.importers.export import FAILURES

# The one reader of images that brings them into an orientation of its own.
REORIENTING = {"NibabelIOWithReorient": "RAS"}
RETRAIN = "give a result folder of nnU-Net v2, as it was trained"
# Classes that an architecture may name, by their own names.
NETWORKS = ("PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet")
BLOCKS = ("BasicBlockD", "BottleneckD")


@dataclass(frozen=True)
class Plan:
    """A configuration of nnU-Net, its axes in the order of the image files.

    nnU-Net reads an image as (z, y, x), then permutes these axes by ``transpose_forward``.

    Attributes
    ----------
    axes : tuple of int
        Axis of the image that each spatial axis of the network is.
    spacing : list of float
        Voxel size in mm along the axes of the image.
    patch : list of int
        Along the axes of the image.
    orientation : str or None
        Axis codes of the images; None if the files were taken as they are stored.
    architecture : mapping
        ``network_class_name``, ``arch_kwargs``, ``_kw_requires_import``.
    configuration : mapping
        All that plans.json says of it.
    """

    axes: tuple[int, ...]
    spacing: list[float]
    patch: list[int]
    orientation: str | None
    architecture: Mapping[str, Any]
    configuration: Mapping[str, Any]


@contextmanager
def _complete(path: Path) -> Iterator[None]:
    """Blame what is missing, or of a wrong kind, on the file."""
    try:
        yield
    except KeyError as error:
        raise InputError(path, f"lacks {error}", RETRAIN) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(path, f"holds a value of a wrong kind ({error})", RETRAIN) from error


def read_plan(path: Path, name: str) -> Plan:
    """Configuration `name` of plans.json.

    Raises
    ------
    InputError
        There is none of that name, it is not for whole 3D images at one resolution, or it lacks a part.
    """
    plans = load_json(path)
    with _complete(path):
        configuration = _inherited(path, plans, name)
        if configuration.get("previous_stage"):
            raise InputError(
                path, f"the configuration {name} needs another network's result", "use 3d_fullres"
            )
        patch = [int(size) for size in configuration["patch_size"]]
        if len(patch) != 3:
            raise InputError(path, f"the configuration {name} is of {len(patch)}D images", "use 3d_fullres")
        # Axis i of the network is axis order[i] of (z, y, x).
        axes = tuple(2 - int(axis) for axis in plans["transpose_forward"])
        return Plan(
            axes,
            _of_image(axes, [float(size) for size in configuration["spacing"]]),
            _of_image(axes, patch),
            REORIENTING.get(str(plans["image_reader_writer"])),
            configuration.get("architecture") or _old_architecture(configuration),
            configuration,
        )


def _of_image(axes: Sequence[int], values: Sequence[Any]) -> list[Any]:
    """Values along the network's axes in the order of the image's."""
    return [values[axes.index(axis)] for axis in range(3)]


def _inherited(path: Path, plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Configuration with what it inherits from others."""
    known = plans["configurations"]
    chain: list[str] = []
    while name:
        if name not in known or name in chain:
            raise InputError(path, f"has no configuration {name}; it has {listed(known)}", RETRAIN)
        chain.append(name)
        name = known[name].get("inherits_from", "")
    return {key: value for link in reversed(chain) for key, value in known[link].items()}


def _old_architecture(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Architecture of plans from before nnU-Net 2.3.1, which held its numbers alone."""
    name = configuration["UNet_class_name"]
    stages = len(configuration["n_conv_per_stage_encoder"])
    first, most = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
    blocks = "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage"
    settings = {
        "n_stages": stages,
        "features_per_stage": [min(first * 2**stage, most) for stage in range(stages)],
        "conv_op": "torch.nn.Conv3d",
        "kernel_sizes": configuration["conv_kernel_sizes"],
        "strides": configuration["pool_op_kernel_sizes"],
        blocks: configuration["n_conv_per_stage_encoder"],
        "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    needed = ["conv_op", "norm_op", "nonlin"]
    return {"network_class_name": name, "arch_kwargs": settings, "_kw_requires_import": needed}


def build_network(path: Path, architecture: Mapping[str, Any], channels: int, outputs: int) -> Any:
    """Network with random weights, without the outputs of deep supervision.

    Only classes of the package dynamic_network_architectures and layers of torch.nn are made, whatever
    plans.json names.

    Raises
    ------
    InputError
        It names another class, or settings that do not fit.
    """
    from dynamic_network_architectures.architectures import unet
    from dynamic_network_architectures.building_blocks import residual

    settings = dict(architecture["arch_kwargs"])
    for key in architecture.get("_kw_requires_import", ()):
        if settings.get(key) is None:
            continue
        name = str(settings[key])
        if name.rsplit(".", 1)[-1] in BLOCKS and name.startswith("dynamic_network_architectures."):
            settings[key] = getattr(residual, name.rsplit(".", 1)[-1])
        else:
            settings[key] = _layer(path, name)
    name = str(architecture["network_class_name"]).rsplit(".", 1)[-1]
    if name not in NETWORKS:
        raise InputError(path, f"its network is a {name}", f"only these can be read: {listed(NETWORKS)}")
    settings["deep_supervision"] = False
    try:
        return getattr(unet, name)(input_channels=channels, num_classes=outputs, **settings)
    except FAILURES as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(path, f"describes no {name} ({reason})", RETRAIN) from error


def _layer(path: Path, name: str) -> Any:
    """Class of a layer in torch.nn."""
    import torch

    match = re.fullmatch(r"torch\.nn\.(?:modules\.\w+\.)?(\w+)", name)
    layer = getattr(torch.nn, match[1], None) if match else None
    if not (isinstance(layer, type) and issubclass(layer, torch.nn.Module)):
        raise InputError(path, f"builds its network of {name}, which is no layer of torch.nn", RETRAIN)
    return layer


def read_outputs(path: Path) -> dict[str, Any]:
    """Activation and labels, as a card has them.

    Regions overlap: a channel each, painted in their order with the values of ``regions_class_order``.
    """
    dataset = load_json(path)
    with _complete(path):
        named = {
            name: value for name, value in dataset["labels"].items() if name not in ("background", "ignore")
        }
        if any(isinstance(value, list) and len(value) > 1 for value in named.values()):
            order = [int(value) for value in dataset["regions_class_order"]]
            if len(set(order)) != len(named):
                problem = (
                    f"its regions_class_order {order} does not give each of {len(named)} regions a value"
                )
                raise InputError(path, problem, RETRAIN)
            return {"activation": "sigmoid", "labels": dict(zip(map(str, order), named, strict=True))}
        values = {int(value[0] if isinstance(value, list) else value): name for name, value in named.items()}
        return {"activation": "softmax", "labels": {str(value): values[value] for value in sorted(values)}}


def read_inputs(folder: Path, plan: Plan) -> tuple[list[dict[str, Any]], list[tuple[float, float]]]:
    """Inputs, as a card has them, and of each channel the gain and offset that follow the scaling.

    CTNormalization clips to two percentiles of the training images and subtracts their mean: a window,
    which the rule ``window`` brings to 0 and 1, and a gain and an offset behind it.

    Raises
    ------
    InputError
        A channel's name or normalisation is not known.
    """
    dataset, plans = load_json(folder / "dataset.json"), load_json(folder / "plans.json")
    with _complete(folder):
        named = dataset.get("channel_names") or dataset["modality"]
        names = [str(named[key]) for key in sorted(named, key=int)]
        schemes = plan.configuration["normalization_schemes"]
        masked = plan.configuration["use_mask_for_norm"]
        if not len(names) == len(schemes) == len(masked):
            raise InputError(
                folder / "plans.json", f"normalises {len(schemes)} channels of {len(names)}", RETRAIN
            )
        rules, gains = [], []
        for index, (scheme, inside) in enumerate(zip(schemes, masked, strict=True)):
            rule, gain = _scaling(folder / "plans.json", str(scheme), bool(inside), plans, str(index))
            rules.append(rule)
            gains.append(gain)
    return named_inputs(folder / "dataset.json", names, rules), gains


def _scaling(
    path: Path, scheme: str, inside: bool, plans: Mapping[str, Any], channel: str
) -> tuple[dict[str, Any], tuple[float, float]]:
    """Rule of a channel, and its gain and offset."""
    if scheme == "ZScoreNormalization":
        # Its mask is what is not zero, which in its brain images is the brain.
        return {"rule": "zscore", "region": "brain" if inside else "image"}, (1.0, 0.0)
    if scheme == "NoNormalization":
        return {"rule": "none"}, (1.0, 0.0)
    if scheme == "RescaleTo01Normalization":
        return {"rule": "percentile", "region": "image", "low": 0.0, "high": 100.0}, (1.0, 0.0)
    if scheme == "CTNormalization":
        of_all = plans.get("foreground_intensity_properties_per_channel")
        figures = (of_all or plans["foreground_intensity_properties_by_modality"])[channel]
        low, high, mean = (float(figures[key]) for key in ("percentile_00_5", "percentile_99_5", "mean"))
        spread = max(float(figures["std"]), 1e-8)
        window = {"rule": "window", "region": "image", "windows": [[(low + high) / 2, high - low]]}
        return window, ((high - low) / spread, (low - mean) / spread)
    raise InputError(
        path, f"scales a channel by {scheme}, which is not known here", "give inputs in its entry"
    )
