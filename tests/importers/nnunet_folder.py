"""Result folders as nnU-Net v2 leaves them, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

# Sizes along the axes of the network; every one another, so that a wrong order shows.
PATCH = [8, 16, 32]
SPACING = [3.0, 1.0, 0.5]
STAGES = 3
ARCHITECTURE: dict[str, Any] = {
    "n_stages": STAGES,
    "features_per_stage": [4, 8, 8],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    "n_conv_per_stage": [2, 2, 2],
    "n_conv_per_stage_decoder": [2, 2],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
IMPORTED = ["conv_op", "norm_op", "dropout_op", "nonlin"]


def make_network(channels: int, outputs: int, seed: int, residual: bool = False) -> Any:
    """Network that plans.json describes, trained with deep supervision; norms and biases are random too."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet

    torch.manual_seed(seed)
    settings = {
        **ARCHITECTURE,
        "conv_op": torch.nn.Conv3d,
        "norm_op": torch.nn.InstanceNorm3d,
        "nonlin": torch.nn.LeakyReLU,
    }
    kind = PlainConvUNet
    if residual:
        kind = ResidualEncoderUNet
        settings["n_blocks_per_stage"] = settings.pop("n_conv_per_stage")
    network = kind(input_channels=channels, num_classes=outputs, deep_supervision=True, **settings)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.2 * torch.randn_like(value))
    return network


def plans(channels: int, **changes: Any) -> dict[str, Any]:
    """Content of plans.json; `changes` are of the configuration 3d_fullres."""
    configuration = {
        "patch_size": PATCH,
        "spacing": SPACING,
        "normalization_schemes": ["ZScoreNormalization"] * channels,
        "use_mask_for_norm": [True] * channels,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": ARCHITECTURE,
            "_kw_requires_import": IMPORTED,
        },
        **changes,
    }
    return {
        "dataset_name": "Dataset001_Small",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {
            "2d": {"patch_size": [16, 16], "spacing": [1.0, 1.0]},
            "base": configuration,
            "3d_fullres": {"inherits_from": "base"},
        },
    }


def checkpoint(network: Any, prefix: str = "") -> dict[str, Any]:
    """Content of a checkpoint, with numbers of numpy in its log."""
    import torch

    return {
        "network_weights": {prefix + name: value for name, value in network.state_dict().items()},
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.6)], "epoch_end": [1.5]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 1000,
        "init_args": {"configuration": "3d_fullres", "fold": 0, "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1),
    }


def write_folder(
    root: Path,
    networks: list[Any],
    plan: dict[str, Any],
    dataset: dict[str, Any],
    prefix: str = "",
) -> Path:
    """The folder, one fold a network."""
    import torch

    root.mkdir(parents=True)
    (root / "plans.json").write_text(json.dumps(plan))
    (root / "dataset.json").write_text(json.dumps(dataset))
    for fold, network in enumerate(networks):
        (root / f"fold_{fold}").mkdir()
        torch.save(checkpoint(network, prefix), root / f"fold_{fold}" / "checkpoint_final.pth")
    return root
