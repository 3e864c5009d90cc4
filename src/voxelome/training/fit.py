"""Training: a U-Net fitted to examples from a pool, for a number of steps or of seconds."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from voxelome.errors import InputError
from voxelome.imageio import replacing
from voxelome.training.network import FEATURES, unet
from voxelome.training.supply import MIRROR, Pool, Source

if TYPE_CHECKING:
    import torch


# The state is saved after so many seconds.
_SAVE_AFTER = 180.0


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
    mirror : tuple of float
        How often a box is mirrored along each axis: never from left to right where labels have sides.
    softmax : bool
        Whether the regions exclude one another, the background among them; else they may overlap.
    seed : int
    """

    steps: int = 20000
    seconds: float = math.inf
    patch: tuple[int, int, int] = (112, 112, 112)
    batch: int = 4
    learning_rate: float = 3e-3
    pool: int = 200
    workers: int = 0
    mirror: tuple[float, float, float] = MIRROR
    softmax: bool = False
    seed: int = 0


@dataclass
class _Progress:
    """All that changes while a network is trained."""

    network: torch.nn.Module
    mean: torch.nn.Module
    optimiser: torch.optim.Optimizer
    rng: np.random.Generator
    step: int = 0
    before: float = 0.0
    made: int = 0
    loss: float = 0.0
    start: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Time that it took, that before a restart included."""
        return self.before + time.perf_counter() - self.start

    def share(self, settings: TrainingSettings) -> float:
        """Share of the way that is done."""
        return max(self.step / settings.steps, self.seconds / settings.seconds)

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        import torch

        state = {
            "network": self.network.state_dict(),
            "mean": self.mean.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": json.dumps(self.rng.bit_generator.state),
            "counts": {"step": self.step, "before": self.seconds, "made": self.made, "loss": self.loss},
        }
        with replacing(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path, device: str) -> None:
        """Go on from a state that was saved.

        Raises
        ------
        InputError
            The file is damaged, or of another network.
        """
        with _reading(path, "remove it to begin anew"):
            state = _state(path, device)
            self.network.load_state_dict(state["network"])
            self.mean.load_state_dict(state["mean"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.rng.bit_generator.state = json.loads(state["rng"])
            vars(self).update(state["counts"])


@contextmanager
def _reading(path: Path, remedy: str) -> Iterator[None]:
    """Name the state file where it cannot be used."""
    import pickle

    try:
        yield
    except (RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(path, f"is no state of this training ({reason})", remedy) from error


def _state(path: Path, device: str) -> dict[str, Any]:
    """Content of a state file."""
    import torch

    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def _begin_with(network: torch.nn.Module, path: Path, device: str) -> None:
    """Give a network the weights that an earlier training came to."""
    with _reading(path, "name the training/state.pt of a network with as many inputs and outputs"):
        network.load_state_dict(_state(path, device)["mean"])


def train(
    source: Source,
    channels: int,
    regions: int,
    settings: TrainingSettings,
    device: str,
    tell: Callable[[dict[str, Any]], None],
    features: tuple[int, ...] = FEATURES,
    checkpoint: Path | None = None,
    initial: Path | None = None,
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
    checkpoint : path, optional
        File of the state, written every few minutes and at the end. Where it is there already, training goes
        on from it; without workers, and on the CPU, to the very network that it would have come to in one go.
    initial : path, optional
        State of an earlier training, whose network this one begins with: with few cases of one's own, a
        network that knows lesions already needs less of them.

    Raises
    ------
    InputError
        The state cannot be read.
    """
    import torch

    torch.manual_seed(settings.seed)
    torch.backends.cudnn.benchmark = device == "cuda"
    network = unet(channels, regions, features).to(device, memory_format=torch.channels_last_3d)
    if initial is not None:
        _begin_with(network, initial, device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=1e-3)
    now = _Progress(network, deepcopy(network), optimiser, np.random.default_rng(settings.seed))
    if checkpoint is not None and checkpoint.is_file():
        now.load(checkpoint, device)
    pool = Pool(
        source, settings.pool, settings.workers, device, settings.seed, settings.mirror, made=now.made
    )
    try:
        if now.share(settings) < 1:
            pool.start(min(settings.pool, 4 * settings.batch))
            _run(now, pool, settings, device, tell, checkpoint)
    finally:
        pool.close()
    if checkpoint is not None:
        now.save(checkpoint)
    facts = {
        **asdict(settings), "steps": now.step, "seconds": round(now.seconds, 1), "examples": now.made,
        "last_loss": now.loss, "device": device, "features": list(features),
    }  # fmt: skip
    return now.mean.eval(), facts


def _run(
    now: _Progress,
    pool: Pool,
    settings: TrainingSettings,
    device: str,
    tell: Callable[[dict[str, Any]], None],
    checkpoint: Path | None,
) -> None:
    """Train until the end that the settings set."""
    loss_of = _loss(settings.softmax)
    # Examples made before a restart are not counted as time of the network.
    now.start = time.perf_counter()
    told, saved = -1, time.perf_counter()
    while (share := now.share(settings)) < 1:
        rate = settings.learning_rate * min(share / 0.05, 0.5 * (1 + math.cos(math.pi * share)))
        for group in now.optimiser.param_groups:
            group["lr"] = max(rate, 1e-6)
        loss = _step(now, *pool.draw(settings.batch, settings.patch, now.rng), loss_of, device)
        pool.refresh()
        now.step += 1
        now.made = pool.made
        if int(share * 50) > told:
            told = int(share * 50)
            now.loss = float(loss.detach())
            tell({"step": now.step, "share": share, "loss": now.loss, "examples": pool.made})
        if checkpoint is not None and time.perf_counter() - saved > _SAVE_AFTER:
            now.save(checkpoint)
            saved = time.perf_counter()


def _loss(softmax: bool) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Function of logits and regions: soft Dice over the batch, and cross-entropy.

    MONAI's own sum of the two takes the cross-entropy of a softmax whenever there are two channels or more,
    and regions that lie in one another are no classes of a softmax.
    """
    from monai.losses import DiceLoss
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

    overlap = DiceLoss(sigmoid=not softmax, softmax=softmax, batch=True, smooth_nr=1e-3, smooth_dr=1e-3)
    entropy = cross_entropy if softmax else binary_cross_entropy_with_logits

    def loss(logits: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = overlap(logits, regions) + entropy(logits, regions)
        return total

    return loss


def _step(
    now: _Progress, image: torch.Tensor, target: torch.Tensor, loss_of: Any, device: str
) -> torch.Tensor:
    """Loss of a batch, after which the weights have moved by one step."""
    import torch

    image = image.contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
        logits = now.network(image)
    loss: torch.Tensor = loss_of(logits.float(), target)
    now.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(now.network.parameters(), 2.0)
    now.optimiser.step()
    _average(now.mean, now.network, min(0.998, now.step / (now.step + 20)))
    return loss


def _average(mean: torch.nn.Module, network: torch.nn.Module, keep: float) -> None:
    """Move a running mean of weights and statistics towards those of the network."""
    import torch

    with torch.no_grad():
        for kept, new in zip(mean.state_dict().values(), network.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.mul_(keep).add_(new, alpha=1 - keep)
            else:
                kept.copy_(new)
