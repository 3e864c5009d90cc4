"""What methods ask of echo times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxelome.imageio import Array

_EVEN = 0.02  # spacing of echoes that differs by less counts as even


def evenly_spaced(echo_times: Sequence[float] | Array) -> bool:
    """Whether there are three echoes or more, and their spacings differ by less than 2 %.

    Examples
    --------
    >>> evenly_spaced([0.004, 0.012, 0.020]), evenly_spaced([0.004, 0.012, 0.021]), evenly_spaced([1, 2])
    (True, False, False)
    """
    steps = np.diff(echo_times)
    return len(steps) > 1 and bool(np.ptp(steps) <= _EVEN * steps[0])
