"""Examples for training, made by processes of their own and kept in a pool that the network draws from.

A network on a GPU learns faster than examples are made. Each is therefore shown a few times, at another
place and mirrored, before a new one replaces it.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from voxelome.imageio import Array

if TYPE_CHECKING:
    import torch


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
    """

    source: Source
    size: int
    workers: int
    device: str
    seed: int
    made: int = 0
    images: list[torch.Tensor] = field(default_factory=list)
    regions: list[torch.Tensor] = field(default_factory=list)
    _stop: bool = False

    def start(self, least: int) -> None:
        """Begin to fill the pool; return when it holds `least` examples."""
        self._lock = threading.Lock()
        self._make = None if self.workers else self.source.open(self.device)
        if self._make:
            while len(self.images) < least:
                self.refresh()
            return
        context = multiprocessing.get_context("spawn")
        queue = context.Queue(maxsize=2 * self.workers)
        self._processes = [
            context.Process(target=_work, args=(self.source, self.device, self.seed + n, self.workers, queue))
            for n in range(self.workers)
        ]
        for process in self._processes:
            process.start()
        enough = threading.Event()
        threading.Thread(target=self._receive, args=(queue, least, enough), daemon=True).start()
        enough.wait()

    def refresh(self) -> None:
        """Make one example in this process."""
        if self._make:
            self._keep(*self._make(self.seed + self.made))

    def _receive(self, queue: Any, least: int, enough: threading.Event) -> None:
        while not self._stop:
            self._keep(*queue.get())
            if len(self.images) >= least:
                enough.set()

    def _keep(self, image: Array, regions: Array) -> None:
        import torch

        pair = torch.from_numpy(image).to(self.device), torch.from_numpy(regions).to(self.device)
        with self._lock:
            if len(self.images) < self.size:
                self.images.append(pair[0])
                self.regions.append(pair[1])
            else:
                self.images[self.made % self.size], self.regions[self.made % self.size] = pair
            self.made += 1

    def draw(
        self, count: int, patch: tuple[int, int, int], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch: boxes of random examples at random places, some mirrored."""
        import torch

        images, regions = [], []
        with self._lock:
            chosen = [int(rng.integers(len(self.images))) for _ in range(count)]
            pairs = [(self.images[n], self.regions[n]) for n in chosen]
        for image, region in pairs:
            low = [
                int(rng.integers(0, size - edge + 1))
                for size, edge in zip(image.shape[1:], patch, strict=True)
            ]
            box = tuple(slice(a, a + edge) for a, edge in zip(low, patch, strict=True))
            axes = [axis + 1 for axis in range(3) if rng.random() < (0.5 if axis == 0 else 0.15)]
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
