"""Small networks that give a number or probabilities for a whole image: built and trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from voxelome.imageio import FloatArray

Batch = tuple[FloatArray, ...]


def small_volume_net(
    channels: int, outputs: int, *, width: int = 8, scale: float = 1.0, offset: float = 0.0
) -> Any:
    """3D network that takes (N, C, X, Y, Z) to (N, K), with 1 / 16 of the size in its last layers.

    Four convolutions with strides of 2, each followed by another, with batch normalisation; the mean of each
    feature over the volume; one linear layer, whose result is multiplied by `scale` and shifted by `offset`:
    it learns numbers near 0 and gives those of the outcome.
    """
    from torch import nn

    def block(inner: int, outer: int, stride: int) -> list[Any]:
        convolution = nn.Conv3d(inner, outer, 3, stride=stride, padding=1, bias=False)
        return [convolution, nn.BatchNorm3d(outer), nn.ReLU()]

    layers, inner = [], channels
    for level in range(4):
        layers += block(inner, width << level, 2)
        inner = width << level
        if level:
            layers += block(inner, inner, 1)
    final = nn.Linear(inner, outputs)
    nn.init.zeros_(final.bias)

    class VolumeNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), final)

        def forward(self, images: Any) -> Any:
            return self.features(images) * scale + offset

    return VolumeNetwork()


def slice_attention_net(channels: int, outputs: int, *, width: int = 16) -> Any:
    """2.5D network that takes (N, C, S, H, W) to (N, K) and the attention (N, S).

    A 2D network sees each slice with its two neighbours; its features are averaged over the slices with
    weights that a gated attention gives [1]_, which add up to 1. The method ``detailed`` gives a score of
    each slice too, by which training can tell it where to look.

    References
    ----------
    .. [1] Ilse, Tomczak and Welling, Attention-based deep multiple instance learning, ICML 2018.
    """
    import torch
    from torch import nn

    def block(inner: int, outer: int) -> list[Any]:
        convolution = nn.Conv2d(inner, outer, 3, stride=2, padding=1, bias=False)
        again = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(outer), nn.ReLU(), again, nn.BatchNorm2d(outer), nn.ReLU()]

    size = 4 * width

    class SliceAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(
                *block(3 * channels, width), *block(width, 2 * width), *block(2 * width, size)
            )
            self.values = nn.Sequential(nn.Linear(2 * size, 32), nn.Tanh())
            self.gates = nn.Sequential(nn.Linear(2 * size, 32), nn.Sigmoid())
            self.weights = nn.Linear(32, 1)
            self.case = nn.Linear(2 * size, outputs)
            self.slice = nn.Linear(2 * size, 1)

        def detailed(self, images: Any) -> tuple[Any, Any, Any]:
            """Give outputs, attention and the score of each slice."""
            _, _, slices, height, width = images.shape
            below = torch.cat([images[:, :, :1], images[:, :, :-1]], dim=2)
            above = torch.cat([images[:, :, 1:], images[:, :, -1:]], dim=2)
            stacked = torch.cat([below, images, above], dim=1).transpose(1, 2)
            maps = self.encoder(stacked.reshape(-1, 3 * channels, height, width))
            pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
            features = pooled.reshape(-1, slices, 2 * size)
            scores = self.weights(self.values(features) * self.gates(features))
            attention = torch.softmax(scores, dim=1)
            case = self.case((attention * features).sum(dim=1))
            return case, attention[..., 0], self.slice(features)[..., 0]

        def forward(self, images: Any) -> tuple[Any, Any]:
            return self.detailed(images)[:2]

    return SliceAttention()


def attention_loss(network: Any, stacks: Any, classes: Any, marks: Any) -> Any:
    """Loss of a network of :func:`slice_attention_net`: of the case, of each slice, and of the attention.

    Attention that nothing guides may come to lie beside the slice that decides, since each is seen with its
    neighbours. Where slices are marked, the logarithm of the attention that lies on them is made large.

    Parameters
    ----------
    network : torch.nn.Module
    stacks : tensor, shape (N, C, S, H, W)
    classes : tensor of int, shape (N,)
    marks : tensor, shape (N, S)
        1 for slices that show what makes the class, else 0.
    """
    from torch.nn import functional

    case, attention, scores = network.detailed(stacks)
    each = functional.binary_cross_entropy_with_logits(scores, marks)
    there = marks.amax(dim=1)
    on_them = ((attention * marks).sum(dim=1) + 1e-4).log()
    where = -(on_them * there).sum() / there.sum().clamp(min=1)
    return functional.cross_entropy(case, classes, label_smoothing=0.02) + each + 0.3 * where


def train_case_network(
    network: Any,
    make_batch: Callable[[int], Batch],
    loss: Callable[..., Any],
    validate: Callable[[Any, int], None],
    steps: int,
    device: str = "cpu",
    rate: float = 3e-3,
) -> Any:
    """Train a network and give it back, ready to infer.

    Adam with a rate that rises for a tenth of the steps and falls to 0 after.

    Parameters
    ----------
    network : torch.nn.Module
    make_batch : callable
        Gives the arrays of a step by its number; the same number, the same arrays.
    loss : callable
        Takes the network and the tensors of a batch to what is made small.
    validate : callable
        Called with the network, in the state to infer, and the number of steps done, ten times.
    steps : int
    device : str
        ``cpu`` or ``cuda``.
    rate : float
        Largest learning rate.
    """
    import torch

    network = network.to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        batch = [torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in make_batch(step)]
        optimiser.zero_grad()
        value = loss(network, *batch)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        if (step + 1) % max(steps // 10, 1) == 0:
            network.eval()
            with torch.no_grad():
                validate(network, step + 1)
            network.train()
    return network.eval().cpu()
