"""Cox and Snell's R2 of a binary outcome: the share of the uncertainty that a model does away with."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from voxelome.errors import DataError


def largest_cox_snell(prevalence: float) -> float:
    """Return the Cox-Snell R2 of perfect predictions of a binary outcome: Nagelkerke's R2 is the share of it.

    Where nothing is known, Riley et al. (2020, BMJ 368:m441) suppose 0.15 of it.
    """
    if not 0 < prevalence < 1:
        raise DataError(f"a prevalence of {prevalence}", "give one between 0 and 1")
    return float(1 - np.exp(2 * _null_likelihood(prevalence)))


def cox_snell_of_auc(auc: float, prevalence: float) -> float:
    """Return the Cox-Snell R2 that goes with an AUC.

    Log odds are supposed to be normal in each class, with one variance.

    References
    ----------
    Riley et al. (2021), Statistics in Medicine 40:859-864; by an integral instead of simulation.
    """
    if not (0.5 <= auc < 1 and 0 < prevalence < 1):
        raise DataError(
            f"an AUC of {auc} and a prevalence of {prevalence}",
            "give an AUC from 0.5 to below 1, and a prevalence between 0 and 1",
        )
    apart = float(np.sqrt(2) * norm.ppf(auc))
    # Of smooth functions that vanish at both ends, sums over an even grid are exact to rounding.
    x = np.linspace(-12, 12 + apart, 6001)
    log_odds = np.log(prevalence / (1 - prevalence)) + apart * x - apart**2 / 2
    of_positives = -np.logaddexp(0, -log_odds) * norm.pdf(x - apart)
    of_negatives = -np.logaddexp(0, log_odds) * norm.pdf(x)
    likelihood = float(np.sum(prevalence * of_positives + (1 - prevalence) * of_negatives) * (x[1] - x[0]))
    return float(1 - np.exp(2 * (_null_likelihood(prevalence) - likelihood)))


def _null_likelihood(prevalence: float) -> float:
    """Return the log likelihood of the prevalence per case."""
    return float(prevalence * np.log(prevalence) + (1 - prevalence) * np.log1p(-prevalence))
