"""Which features hold when they are measured again, told by the participants of training alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxelome.reliability import reliability


def reliable(repeated: NDArray[np.float32], minimum: float) -> NDArray[np.bool_]:
    """Return which features are at least so reliable; what was never measured again is taken to be.

    Parameters
    ----------
    repeated : ndarray, shape (n_features, n_visits, n_measurements)
        Of the visits of training.
    minimum : float
        Least ICC(1,1). A feature whose reliability cannot be told (it does not vary, or is missing in nearly
        all visits) is left out.
    """
    known = np.asarray(np.isfinite(repeated).any(axis=(1, 2)), dtype=bool)
    kept = ~known
    if known.any():
        values = reliability(repeated[known].astype(np.float64)).icc1.value
        kept[known] = np.nan_to_num(values, nan=-1.0) >= minimum
    return kept
