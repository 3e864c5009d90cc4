"""How sure probabilities are, voxel by voxel: entropy, and disagreement between several of them.

Both are in shares of the most there can be, from 0 to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

# Smallest probability whose logarithm is taken: p log p is 0 below.
_LEAST = np.float32(1e-12)


def surprise(probability: FloatArray, binary: bool = False) -> FloatArray:
    """One channel's part of the entropy in nats: ``-p ln p``, of a binary one ``-p ln p - (1-p) ln(1-p)``."""
    part: FloatArray = np.log(np.maximum(probability, _LEAST))
    part *= probability
    if binary:
        other = 1 - probability
        part += other * np.log(np.maximum(other, _LEAST))
    # What rounding leaves below 0.
    part = np.minimum(part, 0, out=part)
    return np.negative(part, out=part)


def most_entropy(channels: int, binary: bool = False) -> float:
    """Largest sum of :func:`surprise` over `channels` in nats."""
    return channels * float(np.log(2)) if binary else float(np.log(max(2, channels)))


def entropy(probabilities: FloatArray, binary: bool = False) -> FloatArray:
    """Entropy of each voxel as a share of the most there can be.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (K, ...)
        Of K classes that exclude each other; with `binary`, K yes-or-no answers, whose mean is taken.

    Returns
    -------
    ndarray of float32, shape (...)
        0 where one class has all, 1 where all have the same (binary: each is 0.5).
    """
    total = np.zeros(probabilities.shape[1:], dtype=np.float32)
    for channel in probabilities:
        total += surprise(channel, binary)
    total /= np.float32(most_entropy(len(probabilities), binary))
    return total
