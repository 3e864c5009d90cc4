"""The network that is trained, and its export to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voxelome.imageio import replacing

if TYPE_CHECKING:
    import torch

# Features of the levels of the U-Net; small enough for minutes on a CPU, and some MB in float16.
FEATURES = (16, 32, 64, 96, 128, 16)
# Weights with more numbers than this are stored as float16; their rounding moves probabilities by about 1e-4.
_SMALL = 64
OPSET = 17


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


def export_onnx(network: torch.nn.Module, channels: int, patch: tuple[int, ...], path: Path) -> None:
    """Write a network as ONNX, its large weights as float16, any number of cases and any even size.

    Parameters
    ----------
    network : torch.nn.Module
        Takes (N, channels, X, Y, Z).
    channels : int
    patch : tuple of int
        A shape that it takes.
    path : path
        File to write.
    """
    import io

    import onnx
    import torch

    network = network.eval().cpu().float()
    example = torch.zeros((1, channels, *patch))
    free = {0: "n", 2: "x", 3: "y", 4: "z"}
    buffer = io.BytesIO()
    torch.onnx.export(
        network,
        (example,),
        buffer,
        opset_version=OPSET,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": free, "logits": free},
        dynamo=False,
    )
    model = onnx.load_from_string(buffer.getvalue())
    _halve(model)
    onnx.checker.check_model(model)
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def _halve(model: Any) -> None:
    """Store large weights as float16, cast to float32 where they are used."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or int(np.prod(weight.dims)) <= _SMALL:
            continue
        name = weight.name
        half = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), f"{name}.half")
        weight.CopyFrom(half)
        casts.append(helper.make_node("Cast", [half.name], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
    for place, node in enumerate(casts):
        model.graph.node.insert(place, node)
