"""Random fields on a device: smooth noise, deformations, and anatomies seen through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

Shape = tuple[int, int, int]


class Dice:
    """Random numbers of one seed: plain ones for parameters, and fields on a device.

    Parameters
    ----------
    seed : int
    device : torch.device or str
        Where fields are made. Another device gives other fields.
    """

    def __init__(self, seed: int, device: Any = "cpu") -> None:
        import torch

        self.plain = np.random.default_rng(seed)
        self.device = device
        self.generator = torch.Generator(device=device)
        self.generator.manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        """Number between `low` and `high`."""
        return float(self.plain.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return bool(self.plain.random() < probability)

    def normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Independent standard normal numbers."""
        import torch

        return torch.randn(shape, generator=self.generator, device=self.device)

    def smooth(self, shape: Shape, scale: float, channels: int = 1) -> torch.Tensor:
        """Smooth noise of standard deviation near 1, (channels, X, Y, Z), its bumps `scale` voxels apart."""
        from torch.nn.functional import interpolate

        coarse = [max(2, round(size / scale) + 2) for size in shape]
        noise = interpolate(
            self.normal((1, channels, *coarse)), size=shape, mode="trilinear", align_corners=True
        )[0]
        # Between the nodes, interpolation averages eight of them; on average over a cell that leaves (2/3)^3.
        return noise * (1.5**1.5)


def rotation(dice: Dice, degrees: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """3x3 matrix of small rotations around the three axes, one after the other."""
    matrix = np.eye(3)
    for axis in range(3):
        angle = np.deg2rad(dice.uniform(-degrees, degrees))
        turn = np.eye(3)
        i, j = [a for a in range(3) if a != axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


def grid(shape: Shape, device: Any) -> torch.Tensor:
    """Voxel coordinates, shape (3, X, Y, Z), 0 at the centre of the box."""
    import torch

    axes = [torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2 for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def sample(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Values of maps of shape (C, X, Y, Z) at voxel coordinates of shape (3, ...); the border is repeated."""
    import torch
    from torch.nn.functional import grid_sample

    size = torch.tensor(maps.shape[1:], device=points.device, dtype=torch.float32).view(3, 1, 1, 1)
    unit = 2 * points / (size - 1) - 1
    # grid_sample wants the last axis first.
    where = unit.flip(0).permute(1, 2, 3, 0)[None]
    found = grid_sample(maps[None].float(), where, mode="bilinear", padding_mode="border", align_corners=True)
    return found[0]


def blur(image: torch.Tensor, sigma: tuple[float, float, float]) -> torch.Tensor:
    """Image of shape (C, X, Y, Z) smoothed by a Gaussian of these standard deviations (voxels)."""
    import torch
    from torch.nn.functional import conv3d, pad

    for axis, width in enumerate(sigma):
        if width < 0.1:
            continue
        radius = int(np.ceil(3 * width))
        kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=image.device) / width) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[axis + 2] = -1
        sides = [0] * 6
        sides[2 * (2 - axis)] = sides[2 * (2 - axis) + 1] = radius
        wide = pad(image[:, None], tuple(sides), mode="replicate")
        image = conv3d(wide, (kernel / kernel.sum()).view(shape))[:, 0]
    return image


def soft_inside(distance: torch.Tensor, width: float) -> torch.Tensor:
    """Fraction of a voxel inside of a surface, from a signed distance that is negative inside."""
    return (0.5 - distance / width).clamp(0, 1)
