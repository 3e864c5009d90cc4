"""New cases of the simulator that the lesion network saw: `python _segmentation_draws.py FOLDER COUNT`.

It needs torch. Every case shows all contrasts.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from voxelome.training.anatomy import template_anatomy
from voxelome.training.fields import Dice
from voxelome.training.synthesis import synthesise

# No training uses seeds so high.
FIRST = 10**8
SHAPE = (112, 112, 112)


def main() -> None:
    """Write the wanted number of cases as .npz."""
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    anatomy = torch.from_numpy(template_anatomy().maps)
    seed, made = FIRST, 0
    while made < count:
        with torch.no_grad():
            case = synthesise(anatomy, SHAPE, Dice(seed, "cpu"))
        shown = (case.image != 0).flatten(1).any(1)
        if bool(shown.all()):
            image, regions = case.image.half().numpy(), case.regions.numpy()
            np.savez(folder / f"{seed}.npz", image=image, regions=regions, kind=case.kind)
            made += 1
        seed += 1


if __name__ == "__main__":
    main()
