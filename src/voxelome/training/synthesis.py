"""Images with planted lesions, made on the fly: an anatomy deformed, painted, acquired.

Everything that a network must not care about is random, so that what it has learned holds on images that
it has never seen (Billot et al., SynthSeg, Medical Image Analysis 86, 2023). No real image takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from voxelome.imageio import Array
from voxelome.training.acquisition import acquire, imperfect_mask, rind, vessel_map
from voxelome.training.anatomy import MAPS, Anatomy
from voxelome.training.contrasts import CHANNELS, paint, random_levels
from voxelome.training.fields import Dice, Shape, grid, rotation, sample
from voxelome.training.lesions import Mass, Planted, choose_kind, place, plant, pushed
from voxelome.training.resolution import coarser

if TYPE_CHECKING:
    import torch

# Sets of contrasts that studies have, by CHANNELS, and how often each is shown.
_SETS = (
    ((0, 1, 2, 3), 0.30), ((0, 1), 0.20), ((0,), 0.12), ((0, 1, 3), 0.08), ((0, 1, 2), 0.08),
    ((0, 2), 0.05), ((0, 3), 0.03), ((1, 2), 0.03), ((2,), 0.04), ((2, 3), 0.02), ((1, 3), 0.03),
    ((3,), 0.02),
)  # fmt: skip


@dataclass
class Example:
    """One synthetic case.

    Attributes
    ----------
    image : tensor, shape (4, X, Y, Z)
        Channels of :data:`CHANNELS`, mean 0 and standard deviation 1 in the brain, 0 outside; absent ones 0.
    regions : tensor of bool, shape (2, X, Y, Z)
        The whole lesion, and what of it enhances; the latter is empty where no image with contrast agent is
        shown.
    kind : str
        What was planted.
    """

    image: torch.Tensor
    regions: torch.Tensor
    kind: str


def synthesise(
    anatomy: torch.Tensor,
    shape: Shape,
    dice: Dice,
    among: Sequence[int] = (0, 1, 2, 3),
    fixed: bool = False,
) -> Example:
    """One case on a grid of 1 mm.

    Parameters
    ----------
    anatomy : tensor, shape (7, X, Y, Z)
        Maps of :class:`voxelome.training.anatomy.Anatomy`, on the device of `dice`.
    shape : tuple of int
        Of the box wanted, anywhere in the brain.
    dice : Dice
    among : sequence of int
        Of :data:`CHANNELS`, those that may be shown: a set of them that studies have, at random.
    fixed : bool
        Whether all of `among` are shown instead.
    """
    import torch

    kind = choose_kind(dice)
    tissue, mass = _tissue(anatomy, shape, kind, dice)
    planted = plant(kind, tissue, mass, dice)
    brain = imperfect_mask(tissue["depth"], dice)
    outside = (tissue["depth"] <= 0.5).float()
    vessels = vessel_map(tissue, dice) * float(dice.chance(0.8))
    shown = tuple(among) if fixed else _choose(among, dice)
    channels = torch.zeros((len(CHANNELS), *shape), device=anatomy.device)
    for index in shown:
        channels[index] = _channel(CHANNELS[index], tissue, planted, vessels, outside, brain, dice)
    lesion = planted.bright + planted.core + planted.enhancing
    whole = (lesion >= 0.5) & (brain > 0.5)
    enhancing = whole & (planted.enhancing >= 0.5 * lesion) & (CHANNELS.index("T1w enhanced") in shown)
    return Example(channels, torch.stack([whole, enhancing]), kind)


def _choose(channels: Sequence[int], dice: Dice) -> tuple[int, ...]:
    """A set of contrasts that studies have, of these channels; all of them where no study has less."""
    sets = [(shown, chance) for shown, chance in _SETS if set(shown) <= set(channels)]
    if not sets:
        return tuple(channels)
    chances = np.array([chance for _, chance in sets])
    return sets[int(dice.plain.choice(len(sets), p=chances / chances.sum()))][0]


def _tissue(
    anatomy: torch.Tensor, shape: Shape, kind: str, dice: Dice
) -> tuple[dict[str, torch.Tensor], Mass | None]:
    """A box of the anatomy, turned, scaled, bent, aged, and pushed where a tumour will be."""
    import torch

    points = grid(shape, anatomy.device)
    extent = np.array(anatomy.shape[1:])
    centre = torch.tensor(
        [dice.uniform(0.36, 0.64) * size for size in extent], device=anatomy.device, dtype=torch.float32
    )
    matrix = rotation(dice, 15) @ np.diag([dice.uniform(0.85, 1.15) for _ in range(3)])
    if dice.chance(0.5):
        matrix = matrix @ np.diag([-1.0, 1.0, 1.0])
    linear = torch.tensor(matrix, device=anatomy.device, dtype=torch.float32)

    def to_anatomy(where: torch.Tensor) -> torch.Tensor:
        return torch.einsum("ij,jxyz->ixyz", linear, where) + centre.view(3, 1, 1, 1)

    bent = (
        points
        + dice.uniform(0, 3.5) * dice.smooth(shape, 45.0, 3)
        + dice.uniform(0, 1.2) * dice.smooth(shape, 16.0, 3)
    )
    mass = None
    if kind == "glioma":
        first = sample(anatomy[:2], to_anatomy(bent)).sum(0)
        mass = Mass(
            place(first * (first > 0.6), dice),
            5.0 * (36.0 / 5.0) ** dice.uniform(0, 1),
            dice.uniform(0, 0.55),
        )
        bent = pushed(bent, mass)
    found = sample(_aged(anatomy, dice), to_anatomy(bent))
    tissue = dict(zip(MAPS, found, strict=True))
    _sharpen(tissue, dice)
    return tissue, mass


def _aged(anatomy: torch.Tensor, dice: Dice) -> torch.Tensor:
    """Anatomy with larger ventricles and wider sulci, as in old age."""
    import torch

    wider = dice.uniform(0.5, 6.0) if dice.chance(0.5) else 0.0
    if not wider:
        return anatomy.float()
    maps = anatomy.float()
    distance = maps[MAPS.index("to_ventricle")]
    slope = torch.stack(torch.gradient(distance))
    # Tissue at this distance lay nearer to the ventricles before they grew.
    shift = wider * torch.exp(-distance.clamp(min=0) / 14.0)
    # No deeper than 1 mm into them: beyond the middle of a narrow one lies its other wall.
    shift = torch.minimum(shift, (distance + 1).clamp(min=0))
    axes = [torch.arange(size, device=maps.device, dtype=torch.float32) for size in maps.shape[1:]]
    where = torch.stack(torch.meshgrid(*axes, indexing="ij")) - shift * slope
    aged = sample(maps, where)
    aged[MAPS.index("to_ventricle")] = distance - shift
    return aged


def _sharpen(tissue: dict[str, torch.Tensor], dice: Dice) -> None:
    """Fractions nearer to pure tissue (a template is an average of many) and with wider or narrower fluid."""
    power = dice.uniform(1.0, 3.0)
    atrophy = dice.uniform(0.7, 1.8)
    parts = {name: tissue[name].clamp(min=1e-4) ** power for name in ("gm", "wm", "csf")}
    parts["csf"] = parts["csf"] * atrophy
    total = sum(parts.values())
    inside = (tissue["depth"] / 1.5 + 0.5).clamp(0, 1)
    for name in ("ventricle", "deep"):
        whole = "csf" if name == "ventricle" else "gm"
        share = (tissue[name] / tissue[whole].clamp(min=1e-3)).clamp(0, 1)
        tissue[name] = share * parts[whole] / total * inside
    for name, part in parts.items():
        tissue[name] = part / total * inside


def _channel(
    name: str,
    tissue: dict[str, torch.Tensor],
    planted: Planted,
    vessels: torch.Tensor,
    outside: torch.Tensor,
    brain: torch.Tensor,
    dice: Dice,
) -> torch.Tensor:
    """One contrast, acquired and scaled."""
    image = paint(random_levels(name, dice), tissue, planted, vessels, dice)
    image = image * (1 - outside) + rind(outside, dice)
    if dice.chance(0.3):  # contrasts are never registered perfectly
        image = _shifted(image, dice)
    image = acquire(image, brain, dice)
    inside = image[brain > 0.5]
    # The box is not the whole brain, whose mean and deviation count later: they are near, and no more.
    mean, sd = inside.mean(), inside.std().clamp(min=1e-3)
    return ((image - mean) / sd * dice.uniform(0.85, 1.2) + dice.uniform(-0.2, 0.2)).clamp(-6, 10) * brain


def _shifted(image: torch.Tensor, dice: Dice) -> torch.Tensor:
    """Image moved by up to 1 mm along each axis."""
    import torch

    shape: Shape = tuple(image.shape)
    middle = torch.tensor([(size - 1) / 2 for size in shape], device=image.device)
    offset = torch.tensor([dice.uniform(-1, 1) for _ in range(3)], device=image.device)
    return sample(image[None], grid(shape, image.device) + (middle + offset).view(3, 1, 1, 1))[0]


@dataclass(frozen=True)
class Synthetic:
    """A source of synthetic examples (see :class:`voxelome.training.supply.Source`).

    Parameters
    ----------
    anatomies : tuple of path
        Files of :class:`voxelome.training.anatomy.Anatomy`.
    shape : tuple of int
        Of each example, in voxels of `spacing`.
    spacing : float
        Voxel size in mm, 1 or more.
    channels : tuple of int
        Which of :data:`CHANNELS` an example has, in this order.
    regions : int
        1: the whole lesion; 2: what of it enhances, too.
    """

    anatomies: tuple[Path, ...]
    shape: Shape = (128, 128, 128)
    spacing: float = 1.0
    channels: tuple[int, ...] = (0, 1, 2, 3)
    regions: int = 2

    def open(self, device: str) -> Callable[[int], tuple[Array, Array]]:
        """Function that makes the example of a seed."""
        cases = self.cases(device)

        def make(seed: int) -> tuple[Array, Array]:
            return cases(seed, None)[:2]

        return make

    def cases(self, device: str) -> Callable[[int, Sequence[int] | None], tuple[Array, Array, str]]:
        """Function of a seed and of the contrasts to show (None: as in training): image, regions, kind."""
        import torch

        heads = [torch.from_numpy(Anatomy.load(path).maps).to(device) for path in self.anatomies]
        fine: Shape = (
            round(self.shape[0] * self.spacing),
            round(self.shape[1] * self.spacing),
            round(self.shape[2] * self.spacing),
        )

        def make(seed: int, shown: Sequence[int] | None) -> tuple[Array, Array, str]:
            with torch.no_grad():
                example = synthesise(
                    heads[seed % len(heads)],
                    fine,
                    Dice(seed, device),
                    self.channels if shown is None else shown,
                    fixed=shown is not None,
                )
                image, regions = coarser(example.image, example.regions, self.spacing)
            chosen = image[list(self.channels)].half().cpu().numpy()
            return chosen, regions[: self.regions].cpu().numpy(), example.kind

        return make
