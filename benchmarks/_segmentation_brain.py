"""Brain of one image as the workflow finds it: `python _segmentation_brain.py MODEL IMAGE BRAIN MASK N`.

It leaves what deepbet's own command leaves: the mask, and the image without what is outside; N threads.
"""

import sys
from pathlib import Path

import numpy as np

from voxelome.imageio import load_volume, save_volume
from voxelome.orientation import to_canonical
from voxelome.segmentation.deepbet import BrainExtractor


def main() -> None:
    """Read the image, find the brain, save both."""
    model, image, brain, mask, threads = sys.argv[1:]
    volume = load_volume(image)
    data, affine = to_canonical(volume.data, volume.affine)
    inside = BrainExtractor(Path(model), int(threads))(data, affine)
    save_volume(Path(brain), np.where(inside, data, 0), affine, {})
    save_volume(Path(mask), inside, affine, {})


if __name__ == "__main__":
    main()
