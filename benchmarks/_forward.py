"""Raw phase of a head by qsm-forward, in an environment of its own: `python _forward.py FOLDER`.

Maps are read from FOLDER (chi, M0, R1, R2star, mask; NIfTI with an identity affine); a BIDS dataset is
written to it.
"""

import sys
from pathlib import Path

import numpy as np
import qsm_forward


def main() -> None:
    """Simulate four echoes at 3 T with qsm-forward's own field, shim, phase offset and noise."""
    folder = Path(sys.argv[1])
    names = {name: f"{name}.nii.gz" for name in ("chi", "M0", "R1", "R2star", "mask")}
    tissue = qsm_forward.TissueParams(root_dir=str(folder), **names, seg=names["mask"])
    acquisition = qsm_forward.ReconParams(
        subject="1",
        B0=3,
        TEs=np.array([0.004, 0.012, 0.020, 0.028]),
        voxel_size=np.ones(3),
        peak_snr=100,
        random_seed=1,
    )
    qsm_forward.generate_bids(tissue, acquisition, str(folder / "bids"))


if __name__ == "__main__":
    main()
