"""Planted lesions, as fractions of voxels: tumours, demyelination, small-vessel disease, infarcts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from voxelome.training.fields import Dice, Shape, grid, rotation, soft_inside

if TYPE_CHECKING:
    import torch

KINDS = ("glioma", "metastases", "demyelination", "small vessels", "infarct", "none")
_CHANCES = (0.34, 0.08, 0.24, 0.16, 0.08, 0.10)


@dataclass
class Planted:
    """Lesions of one head.

    Attributes
    ----------
    bright : tensor, shape (X, Y, Z)
        Fraction of tissue that is bright in FLAIR and T2w and does not enhance.
    core : tensor
        Necrosis, cysts and cavities: bright in T2w, of any brightness in FLAIR.
    enhancing : tensor
        Fraction that takes up contrast agent.
    """

    bright: torch.Tensor
    core: torch.Tensor
    enhancing: torch.Tensor


@dataclass
class Mass:
    """A tumour to come: where it lies (voxels from the centre of the box), how large it is, how it pushes."""

    centre: torch.Tensor
    radius: float
    push: float


def choose_kind(dice: Dice) -> str:
    """Kind of lesion that a head gets."""
    return str(dice.plain.choice(KINDS, p=_CHANCES))


def pushed(points: torch.Tensor, mass: Mass) -> torch.Tensor:
    """Where the tissue at these points came from, before a mass pushed it away."""
    import torch

    away = points - mass.centre.view(3, 1, 1, 1)
    near = torch.exp(-(away**2).sum(0) / (2 * (1.3 * mass.radius) ** 2))
    return points - mass.push * near * away


def plant(kind: str, tissue: dict[str, torch.Tensor], mass: Mass | None, dice: Dice) -> Planted:
    """Lesions of a kind in tissue on a grid of 1 mm.

    Parameters
    ----------
    kind : str
        One of :data:`KINDS`.
    tissue : dict of tensor, shape (X, Y, Z)
        Maps of :mod:`voxelome.training.anatomy` by name.
    mass : Mass or None
        Of a glioma: where it lies.
    dice : Dice
    """
    import torch

    shape = tuple(tissue["wm"].shape)
    empty = torch.zeros(shape, device=tissue["wm"].device)
    planted = Planted(empty, empty.clone(), empty.clone())
    if kind == "glioma" and mass is not None:
        _glioma(planted, tissue, mass, dice)
    elif kind == "metastases":
        for _ in range(int(dice.plain.integers(1, 7))):
            centre = place(tissue["wm"] + tissue["gm"], dice)
            _glioma(planted, tissue, Mass(centre, dice.uniform(2.5, 10), 0.0), dice)
    elif kind == "demyelination":
        _spots(planted, tissue, dice, int(dice.plain.integers(3, 45)), (1.3, 6.0), dice.chance(0.7))
        if dice.chance(0.3):
            _confluent(planted, tissue, dice)
    elif kind == "small vessels":
        _confluent(planted, tissue, dice)
        _spots(planted, tissue, dice, int(dice.plain.integers(0, 25)), (1.0, 3.5), False)
    elif kind == "infarct":
        _infarct(planted, tissue, dice)
    solid = (tissue["wm"] + tissue["gm"]).clamp(0, 1)
    planted.bright = planted.bright * solid * (1 - planted.core - planted.enhancing).clamp(0, 1)
    return planted


def place(weight: torch.Tensor, dice: Dice) -> torch.Tensor:
    """A random voxel, by weight, in voxels from the centre of the box; shape (3,)."""
    import torch

    flat = weight.clamp(min=0)[::3, ::3, ::3].reshape(-1).double()
    total = flat.cumsum(0)
    index = int(torch.searchsorted(total, total[-1] * dice.uniform(0, 1)).clamp(max=len(flat) - 1))
    coarse = np.unravel_index(index, weight[::3, ::3, ::3].shape)
    middle = [(size - 1) / 2 for size in weight.shape]
    where = [3.0 * int(c) - m for c, m in zip(coarse, middle, strict=True)]
    return torch.tensor(where, device=weight.device, dtype=torch.float32)


def _ellipsoid(points: torch.Tensor, centre: torch.Tensor, radii: list[float], dice: Dice) -> torch.Tensor:
    """Signed distance (voxels, to first order near the surface) to a turned ellipsoid, negative inside."""
    import torch

    matrix = torch.tensor(
        rotation(dice, 180) / np.array(radii)[:, None], device=points.device, dtype=torch.float32
    )
    scaled = torch.einsum("ij,jxyz->ixyz", matrix, points - centre.view(3, 1, 1, 1))
    return ((scaled**2).sum(0).sqrt() - 1) * float(np.mean(radii))


def _glioma(planted: Planted, tissue: dict[str, torch.Tensor], mass: Mass, dice: Dice) -> None:
    """A body of one to three lobes with or without core and enhancing rim, and oedema along white matter."""
    import torch

    shape: Shape = tuple(tissue["wm"].shape)
    points = grid(shape, tissue["wm"].device)
    radius = mass.radius
    body = _ellipsoid(points, mass.centre, [radius * dice.uniform(0.7, 1.3) for _ in range(3)], dice)
    for _ in range(int(dice.plain.integers(0, 3))):
        aside = torch.tensor(dice.plain.normal(size=3), device=points.device, dtype=torch.float32)
        centre = mass.centre + aside / aside.norm() * radius * dice.uniform(0.5, 1.1)
        radii = [radius * dice.uniform(0.35, 0.9) for _ in range(3)]
        body = torch.minimum(body, _ellipsoid(points, centre, radii, dice))
    rough = min(0.22 * radius, 4.0)
    body = body + rough * (
        0.7 * dice.smooth(shape, max(3.0, 0.6 * radius))[0] + 0.3 * dice.smooth(shape, 4.0)[0]
    )
    inside = (tissue["depth"] / 2 + 0.5).clamp(0, 1) * (1 - 0.85 * tissue["ventricle"])
    whole = soft_inside(body, dice.uniform(1, 3)) * inside
    spread = dice.uniform(0.0, 0.9) * min(radius, 24.0) * float(dice.chance(0.75))
    paths = 0.2 + 0.8 * tissue["wm"].clamp(0, 1)
    reach = spread * paths * (1 + 0.45 * dice.smooth(shape, 14.0)[0])
    oedema = soft_inside(body - reach, dice.uniform(1, 4)) * inside * float(spread > 0)
    oedema = oedema * (0.35 + 0.65 * tissue["wm"]).clamp(0, 1) * (1 - tissue["csf"]).clamp(0, 1)
    thick = dice.uniform(1.2, max(1.5, min(6.0, 0.5 * radius)))
    thickness = thick * (1 + 0.5 * dice.smooth(shape, 9.0)[0]).clamp(min=0.15)
    style = str(
        dice.plain.choice(["ring", "solid", "patchy", "plain", "cyst"], p=[0.4, 0.12, 0.12, 0.26, 0.1])
    )
    core = soft_inside(body + thickness, 1.5) * inside
    if style == "ring":
        _merge(planted, whole, core, (whole - core).clamp(0, 1))
    elif style == "solid":
        _merge(planted, whole, torch.zeros_like(whole), whole * 0.95)
    elif style == "patchy":
        patches = (dice.smooth(shape, 6.0)[0] > dice.uniform(0.0, 1.0)).float()
        _merge(planted, whole, core * (dice.smooth(shape, 8.0)[0] > 1).float(), whole * patches)
    elif style == "cyst":
        _merge(planted, whole, core, torch.zeros_like(whole))
    else:
        _merge(planted, whole, torch.zeros_like(whole), torch.zeros_like(whole))
    planted.bright = torch.maximum(planted.bright, oedema)


def _merge(planted: Planted, whole: torch.Tensor, core: torch.Tensor, enhancing: torch.Tensor) -> None:
    import torch

    planted.enhancing = torch.maximum(planted.enhancing, enhancing)
    planted.core = torch.maximum(planted.core, core) * (1 - planted.enhancing)
    planted.bright = torch.maximum(planted.bright, whole)


def _spots(
    planted: Planted,
    tissue: dict[str, torch.Tensor],
    dice: Dice,
    count: int,
    radii: tuple[float, float],
    near_ventricles: bool,
) -> None:
    """Round and oval lesions, mostly of the white matter; a few of them enhance or are cavities."""
    import torch

    shape: Shape = tuple(tissue["wm"].shape)
    points = grid(shape, tissue["wm"].device)
    weight = tissue["wm"] * (tissue["wm"] > 0.6)
    if near_ventricles:
        weight = weight * (0.08 + torch.exp(-tissue["to_ventricle"].clamp(min=0) / 6.0))
    middle = torch.tensor([(size - 1) / 2 for size in shape], device=points.device)
    for _ in range(count):
        centre = place(weight, dice)
        size = radii[0] * (radii[1] / radii[0]) ** dice.uniform(0, 1)
        axes = [size * dice.uniform(0.65, 1.35) for _ in range(3)]
        reach = int(2 * max(axes)) + 4
        low = [int(max(0, c - reach)) for c in (centre + middle).tolist()]
        box = tuple(slice(a, a + 2 * reach) for a in low)
        here = points[(slice(None), *box)]
        if min(here.shape) == 0:
            continue
        distance = _ellipsoid(here, centre, axes, dice)
        distance = distance + 0.25 * size * dice.smooth(tuple(here.shape[1:]), max(2.0, size))[0]
        spot = soft_inside(distance, dice.uniform(1.0, 2.5)) * (1 - tissue["csf"][box]).clamp(0, 1)
        planted.bright[box] = torch.maximum(planted.bright[box], spot)
        if dice.chance(0.06):
            planted.enhancing[box] = torch.maximum(planted.enhancing[box], spot)
        elif dice.chance(0.06) and size > 2.5:
            inner = soft_inside(distance + 0.6 * size, 1.5)
            planted.core[box] = torch.maximum(planted.core[box], inner)


def _confluent(planted: Planted, tissue: dict[str, torch.Tensor], dice: Dice) -> None:
    """Caps, halos and flames of bright white matter around the ventricles, of uneven reach."""
    import torch

    shape: Shape = tuple(tissue["wm"].shape)
    reach = dice.uniform(0.0, 9.0) * (0.7 + 0.8 * dice.smooth(shape, 18.0)[0]).clamp(min=0)
    halo = soft_inside(tissue["to_ventricle"] - reach, dice.uniform(1, 3)) * (reach > 0.5)
    planted.bright = torch.maximum(planted.bright, halo * tissue["wm"].clamp(0, 1))
    if dice.chance(0.5):
        deep = (tissue["depth"] > 12) * tissue["wm"]
        noise = dice.smooth(shape, dice.uniform(5, 12))[0] * 0.8 + 0.6 * dice.smooth(shape, 4.0)[0]
        cloud = soft_inside(dice.uniform(1.4, 2.4) - noise, 0.5)
        planted.bright = torch.maximum(planted.bright, cloud * deep)


def _infarct(planted: Planted, tissue: dict[str, torch.Tensor], dice: Dice) -> None:
    """A territory that reaches the cortex, or a lacune; old ones hold a cavity."""
    import torch

    shape: Shape = tuple(tissue["wm"].shape)
    points = grid(shape, tissue["wm"].device)
    centre = place(tissue["gm"] + 0.3 * tissue["wm"], dice)
    size = 3.0 * (35.0 / 3.0) ** dice.uniform(0, 1)
    body = _ellipsoid(points, centre, [size * dice.uniform(0.6, 1.4) for _ in range(3)], dice)
    body = body + 0.3 * size * dice.smooth(shape, max(4.0, 0.6 * size))[0]
    area = soft_inside(body, 2.0) * (1 - tissue["csf"]).clamp(0, 1) * (tissue["depth"] > 0)
    planted.bright = torch.maximum(planted.bright, area)
    if dice.chance(0.4):
        planted.core = torch.maximum(planted.core, soft_inside(body + 0.35 * size, 2.0) * area)
