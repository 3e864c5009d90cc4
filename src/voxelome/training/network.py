"""The network that is trained to segment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Features of the levels of the U-Net; small enough for minutes on a CPU, and some MB in float16.
FEATURES = (16, 32, 64, 96, 128, 16)


def unet(channels: int, outputs: int, features: tuple[int, ...] = FEATURES) -> torch.nn.Module:
    """A 3D U-Net (Cicek et al., MICCAI 2016) of MONAI, with batch normalisation.

    Batch normalisation, because its figures are fixed when it is used: it costs nothing then (convolutions
    take it in), and a window's result does not depend on what else lies in the window.
    """
    from monai.networks.nets import BasicUNet

    network: torch.nn.Module = BasicUNet(
        spatial_dims=3,
        in_channels=channels,
        out_channels=outputs,
        features=features,
        act=("LeakyReLU", {"negative_slope": 0.1, "inplace": True}),
        norm="batch",
        upsample="deconv",
    )
    return network
