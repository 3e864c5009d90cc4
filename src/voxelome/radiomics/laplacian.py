"""Laplacian of Gaussian in a box of an image, bit by bit as ITK's recursive filter gives it.

ITK filters the whole image nine times. A box needs fewer lines: whole lines in the first pass, of the
second only those through the box, of the third those of the box. The numbers of a line are ITK's, so nothing
is approximated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxelome.compiled import compiled
from voxelome.errors import DataError
from voxelome.imageio import Array, FloatArray

SHORTEST_LINE = 4
# Coefficients of a recursion, and columns that are filtered together.
_ORDER, _BLOCK = 4, 32
# Deriche's fourth-order fit of a Gaussian: amplitudes A and B, frequency W and decay L of two damped waves.
_WAVES = ((0.6681, -1.3932), (2.0787, -1.3732))
_GAUSSIAN = ((1.3530, 1.8151), (-0.3531, 0.0902))
_SECOND_DERIVATIVE = ((-1.3563, 5.2318), (0.3446, -2.2355))


@dataclass(frozen=True)
class RecursiveFilter:
    """Coefficients of a fourth-order recursion in both directions.

    Attributes
    ----------
    forward, backward : ndarray, shape (4,)
        Weights of the samples.
    feedback : ndarray, shape (4,)
        Weights of the earlier results.
    forward_edge, backward_edge : ndarray, shape (4,)
        What replaces `feedback` where the line has ended; the sample at the end counts as going on for ever.
    """

    forward: FloatArray
    backward: FloatArray
    feedback: FloatArray
    forward_edge: FloatArray
    backward_edge: FloatArray


def laplacian_of_gaussian(
    image: Array, spacing: tuple[float, float, float], sigma: float, box: tuple[slice, slice, slice]
) -> Array:
    """Return the Laplacian of Gaussian, normalised across scale, in a box of an image.

    Parameters
    ----------
    image : ndarray, shape (z, y, x)
        Intensities; at least four voxels along each axis.
    spacing : tuple of three float
        Voxel sizes in mm along z, y, x.
    sigma : float
        Standard deviation of the Gaussian in mm.
    box : tuple of three slice
        Where the result is wanted.

    Returns
    -------
    ndarray of float32, shape of the box
        Intensity (the second derivative times sigma squared).

    Raises
    ------
    DataError
        The image is shorter than four voxels along an axis.

    References
    ----------
    Deriche (1993), Recursively implementing the Gaussian and its derivatives, INRIA report 1893. The order of
    the passes and the rounding to single precision between them are those of ITK's
    ``LaplacianRecursiveGaussianImageFilter``, which PyRadiomics uses.
    """
    if min(image.shape) < SHORTEST_LINE:
        problem = f"the image is {' x '.join(map(str, image.shape[::-1]))} voxels"
        raise DataError(problem, f"a Laplacian of Gaussian needs {SHORTEST_LINE} along each axis")
    smooth = [gaussian(sigma / size) for size in spacing]
    total = np.zeros([part.stop - part.start for part in box], dtype=np.float32)
    # ITK counts the axes from x.
    for axis in (2, 1, 0):
        part = _filtered(image, axis, second_derivative(sigma / spacing[axis], sigma), box[axis])
        for other in (2, 1, 0):
            if other != axis:
                part = _filtered(part, other, smooth[other], box[other])
        # In ITK's order of operations: the sum is taken in double precision and rounded.
        total = (total + part.astype(np.float64) * (1.0 / spacing[axis] ** 2)).astype(np.float32)
    return total


def gaussian(sigma: float) -> RecursiveFilter:
    """Return the recursion that smooths with a Gaussian of `sigma` voxels."""
    (sd, _, _), feedback = _feedback(sigma)
    weights, (sn, _, _) = _weights(sigma, _GAUSSIAN)
    return _both_ways(weights * (1.0 / (2 * sn / sd - weights[0])), feedback)


def second_derivative(sigma: float, length: float) -> RecursiveFilter:
    """Return the recursion of a Gaussian's second derivative (`sigma` in voxels), times `length` squared."""
    (sd, dd, ed), feedback = _feedback(sigma)
    flat, sums = _weights(sigma, _GAUSSIAN)
    curved, curved_sums = _weights(sigma, _SECOND_DERIVATIVE)
    # So much of the Gaussian that a constant gives nothing.
    beta = -(2 * curved_sums[0] - sd * curved[0]) / (2 * sums[0] - sd * flat[0])
    sn, dn, en = (b + beta * a for a, b in zip(sums, curved_sums, strict=True))
    scale = (en * sd * sd - ed * sn * sd - 2 * dn * dd * sd + 2 * dd * dd * sn) / (sd * sd * sd)
    return _both_ways((curved + beta * flat) * (length * length / scale), feedback)


def _feedback(sigma: float) -> tuple[tuple[float, float, float], FloatArray]:
    """Return the sums of the denominator (plain, first and second moment) and its coefficients."""
    (w1, l1), (w2, l2) = _WAVES
    cos1, cos2 = np.cos(w1 / sigma), np.cos(w2 / sigma)
    exp1, exp2 = np.exp(l1 / sigma), np.exp(l2 / sigma)
    d4 = exp1 * exp1 * exp2 * exp2
    d3 = -2 * cos1 * exp1 * exp2 * exp2
    d3 += -2 * cos2 * exp2 * exp1 * exp1
    d2 = 4 * cos2 * cos1 * exp1 * exp2
    d2 += exp1 * exp1 + exp2 * exp2
    d1 = -2 * (exp2 * cos2 + exp1 * cos1)
    sums = (
        1.0 + d1 + d2 + d3 + d4,
        d1 + 2 * d2 + 3 * d3 + 4 * d4,
        d1 + 4 * d2 + 9 * d3 + 16 * d4,
    )
    return sums, np.array([d1, d2, d3, d4])


def _weights(
    sigma: float, amplitudes: tuple[tuple[float, float], tuple[float, float]]
) -> tuple[FloatArray, tuple[float, float, float]]:
    """Return the numerator of one direction and its sums (plain, first and second moment)."""
    (a1, b1), (a2, b2) = amplitudes
    (w1, l1), (w2, l2) = _WAVES
    sin1, sin2 = np.sin(w1 / sigma), np.sin(w2 / sigma)
    cos1, cos2 = np.cos(w1 / sigma), np.cos(w2 / sigma)
    exp1, exp2 = np.exp(l1 / sigma), np.exp(l2 / sigma)
    n0 = a1 + a2
    n1 = exp2 * (b2 * sin2 - (a2 + 2 * a1) * cos2)
    n1 += exp1 * (b1 * sin1 - (a1 + 2 * a2) * cos1)
    n2 = (a1 + a2) * cos2 * cos1
    n2 -= b1 * cos2 * sin1 + b2 * cos1 * sin2
    n2 *= 2 * exp1 * exp2
    n2 += a2 * exp1 * exp1 + a1 * exp2 * exp2
    n3 = exp2 * exp1 * exp1 * (b2 * sin2 - a2 * cos2)
    n3 += exp1 * exp2 * exp2 * (b1 * sin1 - a1 * cos1)
    return np.array([n0, n1, n2, n3]), (n0 + n1 + n2 + n3, n1 + 2 * n2 + 3 * n3, n1 + 4 * n2 + 9 * n3)


def _both_ways(weights: FloatArray, feedback: FloatArray) -> RecursiveFilter:
    """Complete a recursion with its way back and its values at the ends of a line."""
    n0, n1, n2, n3 = weights
    d1, d2, d3, d4 = feedback
    back = np.array([n1 - d1 * n0, n2 - d2 * n0, n3 - d3 * n0, -d4 * n0])
    sn, sm = n0 + n1 + n2 + n3, back[0] + back[1] + back[2] + back[3]
    sd = 1.0 + d1 + d2 + d3 + d4
    return RecursiveFilter(weights, back, feedback, feedback * sn / sd, feedback * sm / sd)


def _filtered(image: Array, axis: int, recursion: RecursiveFilter, keep: slice) -> Array:
    """Filter along one axis and return the part `keep` of it."""
    lines = np.moveaxis(image, axis, 0)
    columns = np.ascontiguousarray(lines).reshape(len(lines), -1)
    out = np.empty((keep.stop - keep.start, columns.shape[1]), dtype=np.float32)
    _filter_columns(
        columns,
        recursion.forward,
        recursion.backward,
        recursion.feedback,
        recursion.forward_edge,
        recursion.backward_edge,
        keep.start,
        out,
    )
    return np.moveaxis(out.reshape(len(out), *lines.shape[1:]), 0, axis)


@compiled()
def _recursion(
    data: FloatArray,
    weights: FloatArray,
    feedback: FloatArray,
    edge_weights: FloatArray,
    rows: int,
    size: int,
    out: FloatArray,
) -> None:
    """Filter columns from the top; row i of `out` comes from rows i to i + 3 of `data`.

    Above the first row the columns go on as they begin. Sums are taken in the order of ITK, to round alike.
    """
    a, b, c, d = weights
    p, q, r, s = feedback
    for i in range(min(_ORDER, rows)):
        for j in range(size):
            edge = data[0, j]
            before = out[i - 1, j] * p if i > 0 else edge * edge_weights[0]
            before += out[i - 2, j] * q if i > 1 else edge * edge_weights[1]
            before += out[i - 3, j] * r if i > 2 else edge * edge_weights[2]
            before += edge * edge_weights[3]
            out[i, j] = (
                data[i + 3, j] * a + data[i + 2, j] * b + data[i + 1, j] * c + data[i, j] * d
            ) - before
    for i in range(_ORDER, rows):
        for j in range(size):
            out[i, j] = (data[i + 3, j] * a + data[i + 2, j] * b + data[i + 1, j] * c + data[i, j] * d) - (
                out[i - 1, j] * p + out[i - 2, j] * q + out[i - 3, j] * r + out[i - 4, j] * s
            )


@compiled()
def _filter_columns(
    columns: Array,
    forward: FloatArray,
    backward: FloatArray,
    feedback: FloatArray,
    forward_edge: FloatArray,
    backward_edge: FloatArray,
    first: int,
    out: Array,
) -> None:
    """Filter each column in both directions and keep the rows of `out`, which begin at `first`."""
    count, width = columns.shape
    last = first + out.shape[0]
    # The way back has no share in the sample itself: its samples begin one row further on.
    down, up = np.empty((count + _ORDER - 1, _BLOCK)), np.empty((count + _ORDER, _BLOCK))
    ahead, back = np.empty((count, _BLOCK)), np.empty((count, _BLOCK))
    for begin in range(0, width, _BLOCK):
        size = min(_BLOCK, width - begin)
        for i in range(count + _ORDER):
            for j in range(size):
                up[i, j] = columns[count - 1 - max(i - _ORDER, 0), begin + j]
        for i in range(count + _ORDER - 1):
            for j in range(size):
                down[i, j] = columns[max(i - _ORDER + 1, 0), begin + j]
        _recursion(down, forward, feedback, forward_edge, last, size, ahead)
        _recursion(up, backward, feedback, backward_edge, count - first, size, back)
        for i in range(first, last):
            for j in range(size):
                out[i - first, begin + j] = ahead[i, j] + back[count - 1 - i, j]
