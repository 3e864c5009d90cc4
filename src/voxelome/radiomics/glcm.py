"""What PyRadiomics computes from co-occurrence matrices, in less time where there are many gray levels.

The numbers are the same up to rounding (the tests compare them). PyRadiomics sums the diagonals of a matrix
by one mask each, and for the maximal correlation coefficient it adds an outer product a gray level. Both take
longer than all other features together once there are more than some 40 levels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from voxelome.imageio import Array, FloatArray


def coefficients_for_pyradiomics(features: Any) -> None:
    """Give PyRadiomics' co-occurrence features the sums of their matrices that several of them share.

    Parameters
    ----------
    features : radiomics.glcm.RadiomicsGLCM
        The object that computes the features, with matrices of shape (1, levels, levels, directions).
    """
    matrices, shared = features.P_glcm, features.coefficients
    count, eps = shared["Ng"], np.spacing(1)
    levels = shared["grayLevels"].astype(float)
    i, j = np.meshgrid(levels, levels, indexing="ij", sparse=True)
    shared |= {
        "eps": eps,
        "i": i,
        "j": j,
        "kValuesSum": np.arange(2, 2 * count + 1, dtype=float),
        "kValuesDiff": np.arange(0, count, dtype=float),
        "px": matrices.sum(2, keepdims=True),
        "py": matrices.sum(1, keepdims=True),
        "ux": np.sum(i[None, :, :, None] * matrices, (1, 2), keepdims=True),
        "uy": np.sum(j[None, :, :, None] * matrices, (1, 2), keepdims=True),
        "pxAddy": _by_diagonal(matrices, i + j - 2, 2 * count - 1),
        "pxSuby": _by_diagonal(matrices, np.abs(i - j), count),
        "HXY": -np.sum(matrices * np.log2(matrices + eps), (1, 2)),
    }


def cluster_prominence(features: Any) -> FloatArray:
    """Return the cluster prominence, averaged over directions; shape (1,)."""
    return _cluster_moment(features, 4)


def cluster_shade(features: Any) -> FloatArray:
    """Return the cluster shade, averaged over directions; shape (1,)."""
    return _cluster_moment(features, 3)


def maximal_correlation(features: Any) -> FloatArray | int:
    """Return the maximal correlation coefficient, averaged over directions; shape (1,).

    Scaled by the square root of the marginal probabilities, the matrix is symmetric but for the rounding unit
    that PyRadiomics adds to its denominator; half the sum with its transpose has the same eigenvalues up to
    the square of that asymmetry.

    References
    ----------
    Haralick, Shanmugam and Dinstein (1973), IEEE Trans Syst Man Cybern 3:610-621, f14.
    """
    matrices = np.moveaxis(features.P_glcm[0], -1, 0)
    shared = features.coefficients
    rows, columns = (np.moveaxis(shared[name][0], -1, 0) for name in ("px", "py"))
    if matrices.shape[-1] < 2:
        return 1
    product = matrices / (rows * columns + shared["eps"]) @ matrices.transpose(0, 2, 1)
    # A level without a neighbor in a direction has an empty row and column there.
    scale = np.sqrt(np.where(rows > 0, rows, 1.0))
    similar = product * scale / scale.transpose(0, 2, 1)
    eigenvalues = np.linalg.eigvalsh((similar + similar.transpose(0, 2, 1)) / 2)[:, -2]
    found: FloatArray = np.nanmean(np.sqrt(np.maximum(eigenvalues, 0.0))[None], 1)
    return found


def _cluster_moment(features: Any, power: int) -> FloatArray:
    """Return a central moment of the sum of both gray levels."""
    shared = features.coefficients
    away = shared["kValuesSum"][None, :, None] - shared["ux"][:, 0] - shared["uy"][:, 0]
    moment: FloatArray = np.nanmean(np.sum(shared["pxAddy"] * away**power, 1), 1)
    return moment


def _by_diagonal(matrices: Array, index: FloatArray, count: int) -> FloatArray:
    """Return sums of matrices (1, n, n, directions) over what has one index; shape (1, count, directions)."""
    where = index.astype(np.intp).ravel()
    sums = np.empty((1, count, matrices.shape[-1]))
    # There may be no direction at all, where no two voxels touch.
    for direction in range(matrices.shape[-1]):
        sums[0, :, direction] = np.bincount(where, matrices[0, ..., direction].ravel(), count)
    return sums
