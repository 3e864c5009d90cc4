"""Real cases to train on: the images and labels that a run of voxelome left, as inference would see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxelome.errors import DataError, InputError, blame
from voxelome.imageio import Affine, Array, MaskArray, load_volume, replacing
from voxelome.segmentation.cards import digest
from voxelome.segmentation.carry import check_labels, same_grid
from voxelome.segmentation.grids import to_network
from voxelome.segmentation.prepare import Prepared, prepare
from voxelome.segmentation.spec import NetworkSpec
from voxelome.training.augment import augmented, some_absent
from voxelome.training.fields import Dice, Shape
from voxelome.training.labelled_files import CaseFiles

# Voxels of labels that boxes are placed by, of each case.
_PLACES = 5000


@dataclass(frozen=True)
class Case:
    """A case in memory, on its own grid.

    Attributes
    ----------
    volumes : list of (ndarray, shape (x, y, z), or None)
        One for each input of the network.
    affine : ndarray, shape (4, 4)
    brain : ndarray of bool, shape (x, y, z)
    labels : ndarray of int, shape (x, y, z)
    """

    volumes: list[Array | None]
    affine: Affine
    brain: MaskArray
    labels: Array


def load_case(files: CaseFiles, spec: NetworkSpec) -> Case:
    """Images, brain mask and labels of a visit.

    Raises
    ------
    InputError
        A file cannot be read, they are not on one grid, or a label is none of the network's.
    """
    brain = load_volume(files.brain, dtype=None)
    volumes: list[Array | None] = []
    for path in files.images:
        volume = None if path is None else load_volume(path)
        if volume is not None and not same_grid(
            volume.data.shape, volume.affine, brain.data.shape, brain.affine
        ):
            raise InputError(str(path), "is not on the grid of the brain mask", "run register again")
        volumes.append(None if volume is None else volume.data)
    drawn = load_volume(files.labels, dtype=None)
    if not same_grid(drawn.data.shape, drawn.affine, brain.data.shape, brain.affine):
        raise InputError(files.labels, "is not on the grid of the brain mask", "run segment again")
    with blame(files.labels):
        # That nothing was found in somebody is worth learning.
        labels = check_labels(drawn.data) if drawn.data.any() else drawn.data.astype(np.int16)
        unknown = set(np.unique(labels).tolist()) - set(spec.labels) - {0}
        if unknown:
            problem = f"holds label {min(unknown)}, which {spec.name} does not have"
            raise DataError(problem, "name every label under outputs in the entry")
    return Case(volumes, brain.affine, brain.data > 0, labels)


def on_network_grid(case: Case, spec: NetworkSpec) -> tuple[Prepared, MaskArray]:
    """What the network takes of a case, exactly as at inference, and what it should give.

    Returns
    -------
    Prepared
    ndarray of bool, shape (K, x, y, z)
        A channel a label; before them, where the network excludes labels by a softmax, the background.
    """
    ready = prepare(case.volumes, case.affine, case.brain, spec)
    shares = [to_network((case.labels == value).astype(np.float32), ready.grid) for value in spec.labels]
    if spec.activation == "sigmoid":
        return ready, np.stack([share >= 0.5 for share in shares])
    every = np.stack([1 - np.sum(shares, axis=0), *shares])
    winner = every.argmax(axis=0)
    return ready, np.stack([winner == index for index in range(len(every))])


@dataclass(frozen=True)
class Labelled:
    """A source of boxes of real cases (see :class:`voxelome.training.supply.Source`).

    Parameters
    ----------
    cases : tuple of path
        Files of :func:`store_cases`, without their endings.
    spec : NetworkSpec
    shape : tuple of int
        Of each box. Half of the boxes hold a voxel of a label, where the case has one.
    """

    cases: tuple[Path, ...]
    spec: NetworkSpec
    shape: Shape

    def open(self, device: str) -> Callable[[int], tuple[Array, Array]]:
        """Function that gives the box of a seed, changed at random."""
        held = [_Stored(path, self.spec) for path in self.cases]

        def make(seed: int) -> tuple[Array, Array]:
            dice = Dice(seed, device)
            image, inside, regions = held[int(dice.plain.integers(len(held)))].box(self.shape, dice)
            changed = augmented(some_absent(image, self.spec, dice), inside, dice)
            return changed.astype(np.float16), regions

        return make


class _Stored:
    """A case on the network's grid, on the disk; each process reads the boxes that it needs."""

    def __init__(self, path: Path, spec: NetworkSpec) -> None:
        self._image = np.load(f"{path}_image.npy", mmap_mode="r")
        self._regions = np.load(f"{path}_regions.npy", mmap_mode="r")
        self._places = np.load(f"{path}_places.npy")
        self.background = _background(spec)

    def box(self, shape: Shape, dice: Dice) -> tuple[Array, MaskArray, MaskArray]:
        """Channels, brain and regions of a box; what lies beyond the case is 0, and background."""
        extent = self._image.shape[1:]
        if len(self._places) and dice.chance(0.5):
            middle = self._places[int(dice.plain.integers(len(self._places)))]
            low = [int(at - dice.plain.integers(edge)) for at, edge in zip(middle, shape, strict=True)]
        else:
            low = [
                int(dice.plain.integers(min(0, size - edge), max(0, size - edge) + 1))
                for size, edge in zip(extent, shape, strict=True)
            ]
        image = _cut(self._image, low, shape).astype(np.float32)
        regions = _cut(self._regions, low, shape)
        found, inside = regions[:-1], regions[-1]
        if self.background:
            found[0] |= ~found.any(axis=0)
        return image, inside, found


def _background(spec: NetworkSpec) -> int:
    """How many of the first regions are background."""
    return int(spec.activation != "sigmoid")


def _cut(stack: Array, low: Sequence[int], shape: Shape) -> Array:
    """Copy of a box of (C, x, y, z), filled up with zeros beyond its borders."""
    result = np.zeros((len(stack), *shape), dtype=stack.dtype)
    source, target = [slice(None)], [slice(None)]
    for start, edge, size in zip(low, shape, stack.shape[1:], strict=True):
        first, last = max(0, start), min(size, start + edge)
        source.append(slice(first, last))
        target.append(slice(first - start, last - start))
    result[tuple(target)] = stack[tuple(source)]
    return result


def store_cases(
    files: Sequence[CaseFiles], spec: NetworkSpec, folder: Path, tell: Callable[[str], None]
) -> tuple[Path, ...]:
    """Cases on the network's grid, written once for every process to read; those that are there stay.

    The last of the regions is the brain. The places are voxels of labels, by which boxes are chosen: the same
    whoever opens a case, as boxes must depend on their seeds alone.
    """
    paths = []
    for item in files:
        what = {"files": item.digest, "spec": repr(spec)}
        path = folder / f"{item.unit}-{digest(what)[:12]}"
        if not Path(f"{path}_places.npy").is_file():
            tell(f"preparing {item.unit}")
            with blame(item.labels):
                ready, regions = on_network_grid(load_case(item, spec), spec)
            inside = np.ones(regions.shape[1:], bool) if ready.inside is None else ready.inside
            with replacing(Path(f"{path}_image.npy")) as temporary:
                np.save(temporary, ready.stack.astype(np.float16))
            with replacing(Path(f"{path}_regions.npy")) as temporary:
                np.save(temporary, np.concatenate([regions, inside[np.newaxis]]))
            places = np.argwhere(regions[_background(spec) :].any(axis=0))
            with replacing(Path(f"{path}_places.npy")) as temporary:
                np.save(temporary, places[:: len(places) // _PLACES + 1])
        paths.append(path)
    return tuple(paths)
