"""How bright each tissue is in each contrast: random, but ordered as the contrast orders them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxelome.training.fields import Dice
from voxelome.training.lesions import Planted

if TYPE_CHECKING:
    import torch

# Channels of a network for lesions, in this order; the suffixes of BIDS, and T1w after contrast agent.
CHANNELS = ("FLAIR", "T1w", "T1w enhanced", "T2w")
Levels = dict[str, float]


def random_levels(channel: str, dice: Dice) -> Levels:
    """Brightness of tissues in a contrast, that of white matter being 1.

    The ranges are wide on purpose: field strengths, sequences and scanners of every kind must lie within
    (Billot et al., Medical Image Analysis 86, 2023), and only what makes a contrast what it is stays:
    fluid is dark in FLAIR and T1w, lesions are brighter than gray matter in FLAIR.
    """
    u = dice.uniform
    if channel == "FLAIR":
        gm = u(1.0, 1.45)
        bright = max(u(1.2, 2.6), gm * u(1.02, 1.2))
        return {
            "gm": gm, "deep": gm * u(0.85, 1.05), "csf": u(0.02, 0.45), "bright": bright,
            "core": u(0.1, 1.1) if dice.chance(0.5) else bright * u(0.6, 1.1),
            "enhancing": bright * u(0.6, 1.1), "vessel": u(0.2, 1.2), "halo": u(1.0, 1.3),
        }  # fmt: skip
    if channel == "T2w":
        gm = u(1.1, 1.8)
        csf = u(2.0, 4.5)
        bright = min(max(u(1.4, 3.2), gm * u(1.0, 1.3)), csf)
        return {
            "gm": gm, "deep": gm * u(0.75, 1.0), "csf": csf, "bright": bright,
            "core": u(0.8, 1.1) * csf if dice.chance(0.6) else bright * u(0.7, 1.2),
            "enhancing": bright * u(0.6, 1.1), "vessel": u(0.2, 1.0), "halo": u(1.0, 1.3),
        }  # fmt: skip
    gm = u(0.55, 0.9)
    csf = u(0.1, 0.45)
    bright = u(0.45, 0.98)
    enhanced = channel == "T1w enhanced"
    return {
        "gm": gm, "deep": u(gm, 0.97), "csf": csf, "bright": bright, "core": u(csf, 0.75),
        "enhancing": u(1.08, 2.3) if enhanced else bright * u(0.85, 1.15),
        "vessel": u(1.1, 2.6) if enhanced else u(0.4, 1.2), "halo": u(0.9, 1.0),
    }  # fmt: skip


def paint(
    levels: Levels, tissue: dict[str, torch.Tensor], planted: Planted, vessels: torch.Tensor, dice: Dice
) -> torch.Tensor:
    """Image of shape (X, Y, Z) before it is acquired: mixtures of the brightness of what voxels hold."""
    import torch

    shape = tuple(tissue["wm"].shape)
    gray = tissue["gm"] - tissue["deep"]
    # Cortex is uneven: limbic gray matter is brighter in FLAIR, myelinated gray darker in T2w.
    uneven = 1 + dice.uniform(0.0, 0.07) * dice.smooth(shape, 22.0)[0]
    image = tissue["wm"] * (1 + dice.uniform(0, 0.03) * dice.smooth(shape, 26.0)[0])
    image = image + levels["gm"] * uneven * gray + levels["deep"] * tissue["deep"]
    fluid = levels["csf"] * tissue["csf"]
    if dice.chance(0.4):  # fluid that flows keeps signal where FLAIR should null it
        flow = (dice.smooth(shape, 16.0)[0] > 1.2).float() * dice.uniform(0.2, 0.9)
        fluid = fluid + flow * tissue["csf"] * (1 - levels["csf"]) * (levels["csf"] < 1)
    image = image + fluid
    rim = torch.exp(-0.5 * ((tissue["to_ventricle"] - 0.8) / 0.8) ** 2) * (1 - tissue["csf"])
    image = image * (1 + (levels["halo"] - 1) * rim)
    lost = (planted.bright + planted.core + planted.enhancing).clamp(0, 1)
    texture = 1 + dice.uniform(0.0, 0.12) * dice.smooth(shape, dice.uniform(2.5, 12.0))[0]
    # What white and gray matter are in a lesion still shines through a little.
    through = dice.uniform(0.0, 0.35)
    ground = (
        levels["bright"] * (1 - through) + through * levels["bright"] * image / image.clamp(min=0.3).mean()
    )
    image = image * (1 - lost) + (
        ground * texture * planted.bright
        + levels["core"] * texture * planted.core
        + levels["enhancing"] * texture * planted.enhancing
    )
    return image * (1 - vessels) + levels["vessel"] * vessels
