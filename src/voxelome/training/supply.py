"""Examples for training, made by processes of their own and kept in a pool that the network draws from.

A network on a GPU learns faster than examples are made. Each is therefore shown a few times, at another
place and mirrored, before a new one replaces it.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from voxelome.imageio import Array
from voxelome.segmentation.spec import NetworkSpec
from voxelome.training.sides import left_right_axes

if TYPE_CHECKING:
    import torch


# How often a box is mirrored from left to right, and along each other axis.
_SIDES, _OTHERS = 0.5, 0.15
MIRROR = (_SIDES, _OTHERS, _OTHERS)


def mirror_chances(spec: NetworkSpec) -> tuple[float, float, float]:
    """How often a box is mirrored along each axis of a network's grid.

    Never from left to right where the network is not to be used so: a label may have a side.
    """
    chances = [_OTHERS] * 3
    for axis in left_right_axes(spec.grid.orientation):
        chances[axis] = _SIDES if axis in spec.grid.mirror else 0.0
    return chances[0], chances[1], chances[2]


class Source(Protocol):
    """What makes examples; it is sent to other processes."""

    def open(self, device: str) -> Callable[[int], tuple[Array, Array]]:
        """Function of a seed: image (C, X, Y, Z) of float16 and regions (R, X, Y, Z) of bool."""
        ...


@dataclass
class Pool:
    """The examples at hand, on the device that trains.

    Parameters
    ----------
    source : Source
    size : int
        Examples kept.
    workers : int
        Processes that make new ones; 0 makes them in this one, in step with the training.
    device : str
    seed : int
    mirror : tuple of float
        How often a box is mirrored along each axis.
    made : int
        Examples made so far, those before a restart included.
    """

    source: Source
    size: int
    workers: int
    device: str
    seed: int
    mirror: tuple[float, float, float] = MIRROR
    made: int = 0
    examples: deque[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=deque)
    _stop: bool = False

    def start(self, least: int) -> None:
        """Begin to fill the pool; return when it holds `least` examples.

        Where `made` is not 0 training goes on: without workers the same examples are made once more that the
        pool held then; with workers it fills with new ones.
        """
        # From the oldest to the newest, so that a training that goes on draws the same.
        self.examples = deque(maxlen=self.size)
        self._lock = threading.Lock()
        self._make = None if self.workers else self.source.open(self.device)
        if self._make:
            made, self.made = self.made, max(0, self.made - self.size)
            while self.made < max(made, least):
                self.refresh()
            return
        context = multiprocessing.get_context("spawn")
        queue = context.Queue(maxsize=2 * self.workers)
        first = self.seed + self.made
        self._processes = [
            context.Process(target=_work, args=(self.source, self.device, first + n, self.workers, queue))
            for n in range(self.workers)
        ]
        for process in self._processes:
            process.start()
        enough = threading.Event()
        self._receiver = threading.Thread(target=self._receive, args=(queue, least, enough), daemon=True)
        self._receiver.start()
        while not enough.wait(1.0):
            self._check_workers()

    def refresh(self) -> None:
        """Make one example in this process."""
        if self._make:
            self._keep(*self._make(self.seed + self.made))

    def _check_workers(self) -> None:
        """Fail where a worker, or what receives its examples, has ended: standard error says why."""
        ended = [process.exitcode for process in self._processes if process.exitcode is not None]
        if ended:
            raise RuntimeError(f"a process that makes examples ended with code {ended[0]}")
        if not self._receiver.is_alive():
            raise RuntimeError("examples of the processes that make them could not be received")

    def _receive(self, queue: Any, least: int, enough: threading.Event) -> None:
        while not self._stop:
            self._keep(*queue.get())
            if len(self.examples) >= least:
                enough.set()

    def _keep(self, image: Array, regions: Array) -> None:
        import torch

        pair = torch.from_numpy(image).to(self.device), torch.from_numpy(regions).to(self.device)
        with self._lock:
            self.examples.append(pair)
            self.made += 1

    def draw(
        self, count: int, patch: tuple[int, int, int], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch: boxes of random examples at random places, some mirrored."""
        import torch

        if self.workers:
            self._check_workers()
        images, regions = [], []
        with self._lock:
            pairs = [self.examples[int(rng.integers(len(self.examples)))] for _ in range(count)]
        for image, region in pairs:
            low = [
                int(rng.integers(0, size - edge + 1))
                for size, edge in zip(image.shape[1:], patch, strict=True)
            ]
            box = tuple(slice(a, a + edge) for a, edge in zip(low, patch, strict=True))
            axes = [axis + 1 for axis in range(3) if rng.random() < self.mirror[axis]]
            images.append(image[(slice(None), *box)].flip(axes).float())
            regions.append(region[(slice(None), *box)].flip(axes).float())
        return torch.stack(images), torch.stack(regions)

    def close(self) -> None:
        """End the processes."""
        self._stop = True
        for process in getattr(self, "_processes", []):
            process.terminate()


def _work(source: Source, device: str, seed: int, stride: int, queue: Any) -> None:
    """Make examples for ever; each process has seeds of its own."""
    import torch

    torch.set_num_threads(1)
    make = source.open(device)
    while True:
        queue.put(make(seed))
        seed += stride
