"""What a scanner makes of an image: slices, blur, bias, noise, and a brain mask that is not quite right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxelome.training.fields import Dice, blur

if TYPE_CHECKING:
    import torch


def acquire(image: torch.Tensor, brain: torch.Tensor, dice: Dice) -> torch.Tensor:
    """Image of shape (X, Y, Z) as it comes out of a scanner and preprocessing.

    Slices up to 6 mm thick along a random axis, with gaps, brought back to 1 mm; what bias is left after
    correction; noise of both channels (Rician); a gamma, as reconstructions and windows apply.
    """
    import torch

    shape = tuple(image.shape)
    image = _slices(image, dice)
    if dice.chance(0.8):
        field = dice.uniform(0.0, 0.22) * dice.smooth(shape, dice.uniform(40, 110))[0]
        image = image * torch.exp(field)
    level = dice.uniform(0.0, 0.07)
    noise = dice.normal((2, *shape)) * level
    if dice.chance(0.5):
        noise = blur(noise, (0.6, 0.6, 0.6)) * 1.8
    image = torch.sqrt((image + noise[0]) ** 2 + noise[1] ** 2)
    if dice.chance(0.5):
        scale = image[brain > 0.5].mean().clamp(min=1e-3) * 1.5
        image = scale * (image / scale).clamp(min=0) ** dice.uniform(0.75, 1.35)
    return image


def _slices(image: torch.Tensor, dice: Dice) -> torch.Tensor:
    """Image with the resolution of a random scan, on its own grid."""
    from torch.nn.functional import interpolate

    inplane = dice.uniform(0.0, 0.7)
    sigma = [inplane, inplane, inplane]
    thick = dice.uniform(1.0, 6.0) if dice.chance(0.55) else 1.0
    axis = int(dice.plain.choice(3, p=[0.2, 0.2, 0.6]))
    if thick > 1.3:
        sigma[axis] = thick / 2.355
    smooth = blur(image[None], (sigma[0], sigma[1], sigma[2]))
    if thick <= 1.3:
        return smooth[0]
    shape = tuple(image.shape)
    coarse = [size if a != axis else max(4, round(size / thick)) for a, size in enumerate(shape)]
    small = interpolate(smooth[None], size=coarse, mode="trilinear", align_corners=False)
    mode = "nearest" if dice.chance(0.15) else "trilinear"
    align = {} if mode == "nearest" else {"align_corners": False}
    return interpolate(small, size=shape, mode=mode, **align)[0, 0]


def imperfect_mask(depth: torch.Tensor, dice: Dice) -> torch.Tensor:
    """Brain mask, shape (X, Y, Z), whose edge wanders by a few mm around the brain's surface."""
    shape = tuple(depth.shape)
    wander = dice.uniform(0.0, 1.6) * dice.smooth(shape, 15.0)[0]
    return ((depth + wander + dice.uniform(-1.5, 2.0)) > 0).float()


def rind(outside: torch.Tensor, dice: Dice) -> torch.Tensor:
    """Brightness (white matter being 1) of what is left of meninges, fat and sinuses outside of the brain."""
    shape = tuple(outside.shape)
    patches = (dice.smooth(shape, 9.0)[0] > dice.uniform(0.2, 1.8)).float()
    return outside * (dice.uniform(0.0, 0.6) + patches * dice.uniform(0.0, 2.5))


def vessel_map(tissue: dict[str, torch.Tensor], dice: Dice) -> torch.Tensor:
    """Fractions of vessels, which enhance and are no lesions: strands in the fluid, plexus, sinuses."""
    shape = tuple(tissue["csf"].shape)
    near_zero = dice.smooth(shape, 9.0, 2).abs()
    strands = ((near_zero[0] < 0.16) & (near_zero[1] < 0.16)).float() * (tissue["csf"] > 0.25)
    plexus = (tissue["ventricle"] > 0.7) * (dice.smooth(shape, 7.0)[0] > 1.4)
    sinus = ((tissue["depth"] < 2.5) & (tissue["depth"] > -2) & (dice.smooth(shape, 20.0)[0] > 1.2)).float()
    return blur((strands + plexus.float() + sinus).clamp(0, 1)[None], (0.6, 0.6, 0.6))[0].clamp(0, 1)
