"""Clusters of features that say much the same, as radiomic features do by the dozen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from voxelome.modelling.association import rounded, unit_columns


class Clusters(NamedTuple):
    """Clusters of features, numbered by the first feature of each.

    Attributes
    ----------
    labels : ndarray of int, shape (n_features,)
        Number of the cluster of each feature, from 0.
    medoids : ndarray of int, shape (n_clusters,)
        Feature of each cluster that correlates best with the others of it.
    """

    labels: NDArray[np.intp]
    medoids: NDArray[np.intp]


def correlation_clusters(values: NDArray[np.float64], maximum: float = 0.7, most: int = 40) -> Clusters:
    """Return clusters of features whose ranks correlate, whatever the sign.

    Average linkage of 1 - abs(Spearman's correlation), cut where clusters correlate by less than `maximum`
    on average, or further up where these would be too many. Missing values count as the median. The outcome
    plays no part.

    Parameters
    ----------
    values : ndarray, shape (n_visits, n_features)
        Features, NaN where missing.
    maximum : float
        Mean absolute correlation from which on features are one cluster.
    most : int
        Largest number of clusters.
    """
    n_features = values.shape[1]
    if n_features == 1:
        return Clusters(np.zeros(1, dtype=np.intp), np.zeros(1, dtype=np.intp))
    known = np.isfinite(values)
    # A feature that nobody has is a constant, which correlates with nothing.
    some = np.where(known.any(axis=0), values, 0.0)
    filled = np.where(known, values, np.nanmedian(some, axis=0))
    unit = unit_columns(rankdata(filled, axis=0))
    alike = rounded(np.clip(np.abs(unit.T @ unit), 0.0, 1.0))
    np.fill_diagonal(alike, 1.0)
    tree = linkage(squareform(1 - alike, checks=False), method="average")
    found = fcluster(tree, 1 - maximum, criterion="distance")
    if len(np.unique(found)) > most:
        found = fcluster(tree, most, criterion="maxclust")
    _, first, codes = np.unique(found, return_index=True, return_inverse=True)
    labels = np.argsort(np.argsort(first, kind="stable"), kind="stable")[codes].astype(np.intp)
    medoids = np.array([_medoid(alike, np.flatnonzero(labels == k)) for k in range(labels.max() + 1)])
    return Clusters(labels, medoids.astype(np.intp))


def _medoid(alike: NDArray[np.float64], members: NDArray[np.intp]) -> int:
    return int(members[np.argmax(rounded(alike[np.ix_(members, members)].sum(axis=1)))])
