"""Training: a U-Net fitted to examples from a pool, for a number of steps or of seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from voxelome.training.network import FEATURES, unet
from voxelome.training.supply import Pool, Source

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    Attributes
    ----------
    steps, seconds : int, float
        It ends when either is reached.
    patch : tuple of int
        Box that a step sees of an example.
    batch : int
    learning_rate : float
        The highest; it rises over the first twentieth and falls along a cosine.
    pool, workers : int
        Examples kept, and processes that make them.
    seed : int
    """

    steps: int = 20000
    seconds: float = math.inf
    patch: tuple[int, int, int] = (112, 112, 112)
    batch: int = 4
    learning_rate: float = 3e-3
    pool: int = 200
    workers: int = 0
    seed: int = 0


def train(
    source: Source,
    channels: int,
    regions: int,
    settings: TrainingSettings,
    device: str,
    tell: Callable[[dict[str, Any]], None],
    features: tuple[int, ...] = FEATURES,
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """A trained network (the running mean of its weights), and how the training went.

    The loss is the sum of soft Dice over the batch and of cross-entropy, a region a channel (Isensee et al.,
    Nature Methods 18, 2021, for regions that contain one another).

    Parameters
    ----------
    source : Source
        Makes the examples.
    channels, regions : int
    settings : TrainingSettings
    device : str
        ``cpu`` or ``cuda``.
    tell : callable
        Called about every fiftieth of the way with the state of the training.
    features : tuple of int
        Of the levels of the network.
    """
    import torch
    from monai.losses import DiceCELoss

    torch.manual_seed(settings.seed)
    torch.backends.cudnn.benchmark = device == "cuda"
    rng = np.random.default_rng(settings.seed)
    network = unet(channels, regions, features).to(device, memory_format=torch.channels_last_3d)
    mean = deepcopy(network)
    loss_of = DiceCELoss(sigmoid=True, batch=True, smooth_nr=1e-3, smooth_dr=1e-3)
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=1e-3)
    pool = Pool(source, settings.pool, settings.workers, device, settings.seed)
    start = time.perf_counter()
    pool.start(min(settings.pool, 4 * settings.batch))
    step, told, recent = 0, -1, 0.0
    try:
        while True:
            share = max(step / settings.steps, (time.perf_counter() - start) / settings.seconds)
            if share >= 1:
                break
            rate = settings.learning_rate * min(share / 0.05, 0.5 * (1 + math.cos(math.pi * share)))
            for group in optimiser.param_groups:
                group["lr"] = max(rate, 1e-6)
            image, target = pool.draw(settings.batch, settings.patch, rng)
            image = image.contiguous(memory_format=torch.channels_last_3d)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
                logits = network(image)
            loss = loss_of(logits.float(), target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
            optimiser.step()
            _average(mean, network, min(0.998, step / (step + 20)))
            pool.refresh()
            step += 1
            if int(share * 50) > told:
                told = int(share * 50)
                recent = float(loss.detach())
                tell({"step": step, "share": share, "loss": recent, "examples": pool.made})
    finally:
        pool.close()
    facts = {
        **asdict(settings), "steps": step, "seconds": round(time.perf_counter() - start, 1),
        "examples": pool.made, "last_loss": recent, "device": device, "features": list(features),
    }  # fmt: skip
    return mean.eval(), facts


def _average(mean: torch.nn.Module, network: torch.nn.Module, keep: float) -> None:
    """Move a running mean of weights and statistics towards those of the network."""
    import torch

    with torch.no_grad():
        for kept, new in zip(mean.state_dict().values(), network.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.mul_(keep).add_(new, alpha=1 - keep)
            else:
                kept.copy_(new)
