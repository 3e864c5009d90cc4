"""Sums over repeated visits, which are all that models with a random intercept need of the data.

The inverse of the covariance I + r J of n visits is I - r / (1 + n r) J: with it, products of two variables
are made of those within participants, and of those of the participants' means by the number of visits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from voxelome.imageio import Array, MaskArray

# What may be left of a response of unit variance by rounding: of its sum of squares, and of that within.
_NOTHING = 1e-18
_LEAST_WITHIN = 1e-8


class Sums(NamedTuple):
    """What the likelihood needs of m responses, k columns of the design and up to v visits a participant.

    Attributes
    ----------
    visits, participants : ndarray, shape (m,)
        Visits, and participants with any.
    of_size : ndarray, shape (m, v)
        Participants with 1, 2, ... v visits.
    within_xx, within_xy, within_yy : ndarray, shape (m, k, k), (m, k) and (m,)
        Products of deviations from the means of the participants.
    between_xx, between_xy, between_yy : ndarray, shape (m, v, k, k), (m, v, k) and (m, v)
        Products of these means, summed over the participants with so many visits.
    """

    visits: Array
    participants: Array
    of_size: Array
    within_xx: Array
    within_xy: Array
    within_yy: Array
    between_xx: Array
    between_xy: Array
    between_yy: Array


class Reduced(NamedTuple):
    """Features less their ordinary least squares fit, in standard deviations, on an orthonormal design.

    Attributes
    ----------
    columns, scale : ndarray, shape (m,)
        Which features, and their standard deviations.
    start : ndarray, shape (m, k)
        Coefficients of ordinary least squares.
    contrasts : ndarray, shape (m, k, k)
        Turns coefficients of the orthonormal design into those of the design.
    known : Sums
        Of the data.
    """

    columns: Array
    start: Array
    scale: Array
    contrasts: Array
    known: Sums

    def take(self, which: Array) -> Reduced:
        """Return some of the features."""
        columns, start, scale, contrasts = (part[which] for part in self[:4])
        return Reduced(columns, start, scale, contrasts, Sums(*(part[which] for part in self.known)))


def reduced(Y: Array, X: Array, participant: Array, columns: Array, most: int) -> Reduced:
    """Return what is left to fit once ordinary least squares has explained what it can.

    So the sums lose no digits to the mean of a feature or to the unit of a term.
    """
    Q, R = np.linalg.qr(X)
    contrast = np.linalg.inv(R)
    mean = Y.mean(axis=0)
    deviation = Y - mean
    scale = deviation.std(axis=0)
    explained = Q.T @ deviation
    start = (contrast @ explained).T
    start[:, 0] += mean
    left = (deviation - Q @ explained) / scale
    contrasts = np.broadcast_to(contrast, (len(columns), *contrast.shape))
    return Reduced(columns, start, scale, contrasts, sums(Q, left, participant, most))


def joined(parts: Sequence[Reduced]) -> Reduced:
    """Return features of several patterns of missing values as one."""
    columns, start, scale, contrasts = map(np.concatenate, zip(*(part[:4] for part in parts), strict=True))
    known = Sums(*map(np.concatenate, zip(*(part.known for part in parts), strict=True)))
    return Reduced(columns, start, scale, contrasts, known)


def sums(X: Array, Y: Array, participant: Array, most: int) -> Sums:
    """Return the sums of responses that are known in the same visits.

    Parameters
    ----------
    X : ndarray, shape (n, k)
        Design, its columns orthonormal.
    Y : ndarray, shape (n, m)
        Responses.
    participant : ndarray of int, shape (n,)
        Participant of each visit, any numbers.
    most : int
        Largest number of visits of a participant, or more.
    """
    _, who, times = np.unique(participant, return_inverse=True, return_counts=True)
    means = []
    for values in (X, Y):
        total = np.zeros((len(times), values.shape[1]))
        np.add.at(total, who, values)
        means.append(total / times[:, None])
    x, y = means
    within_x, within_y = X - x[who], Y - y[who]
    of_size = np.equal.outer(np.arange(1, most + 1), times).astype(np.float64)
    m = Y.shape[1]

    def repeated(of_design: Array) -> Array:
        return np.broadcast_to(of_design, (m, *of_design.shape))

    return Sums(
        np.full(m, len(Y)),
        np.full(m, len(times)),
        repeated(of_size.sum(axis=1)),
        repeated(within_x.T @ within_x),
        within_y.T @ within_x,
        (within_y**2).sum(axis=0),
        repeated(np.einsum("si,ij,ik->sjk", of_size, x, x)),
        np.einsum("si,ij,im->msj", of_size, x, y),
        np.einsum("si,im->ms", of_size, y**2),
    )


def estimable(known: Sums) -> MaskArray:
    """Return for which responses both variances can be told, shape (m,).

    The design must leave degrees of freedom within and between participants (Henderson's method 3 counts
    them), and of the response within participants more than rounding.
    """
    k = known.within_xx.shape[1]
    varying = np.linalg.matrix_rank(known.within_xx, tol=1e-10, hermitian=True)
    inverse = np.linalg.pinv(known.within_xx, rcond=1e-10, hermitian=True)
    explained = np.einsum("mj,mjk,mk->m", known.within_xy, inverse, known.within_xy)
    left = known.within_yy - explained
    between = np.arange(1, known.of_size.shape[1] + 1) * known.between_yy
    total = known.within_yy + between.sum(axis=1)
    enough = (known.visits - known.participants > varying) & (known.participants > k - varying)
    result: MaskArray = enough & (known.visits > k + 1) & (left > _LEAST_WITHIN * total) & (total > _NOTHING)
    return result


def own_share(X: Array) -> Array:
    """Return the share of each column's length that is not of the columns before it, shape (k,)."""
    own = np.zeros(X.shape[1])
    diagonal = np.abs(np.diag(np.linalg.qr(X, mode="r")))
    length = np.linalg.norm(X, axis=0)[: len(diagonal)]
    own[: len(diagonal)] = np.divide(diagonal, length, out=np.zeros_like(length), where=length > 0)
    return own
