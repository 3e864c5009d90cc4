"""A space between the visits of one subject, which favours none of them.

Resampling one visit to the grid of another smooths the one and not the other, and what is then measured
as change over time is partly interpolation. So every visit is brought to a space half-way between all [1]_,
found without singling one out [2]_.

References
----------
.. [1] Reuter and Fischl, NeuroImage 57:19, 2011.
.. [2] Reuter et al., NeuroImage 61:1402, 2012.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

from voxelome.errors import DataError
from voxelome.imageio import Affine, Array, FloatArray, MaskArray, voxel_sizes
from voxelome.registration.prepare import prepare_image
from voxelome.registration.rigid import RigidResult, inverse_consistency, register_rigid, shared_information
from voxelome.registration.stages import Grid

# All pairs of 6 visits are 30 registrations; beyond, their number would grow too fast.
MOST_IN_PAIRS = 6
# Mean displacement in mm. Registered there and back, real images of one head (voxels of 0.7 to 4 mm, the same
# and other contrasts, headers moved) came back to 0.03 to 0.17 mm, round three of them to 0.24 at most; the
# heads of two persons to 1.5.
LARGEST_GAP = 1.0
MARGIN = 10.0

# Small enough that a doubtful pair counts only for visits that no sound pair connects.
_DOUBTFUL_WEIGHT = 1e-4
_DECIMALS = 6

Between = Mapping[tuple[int, int], Affine]


@dataclass(frozen=True)
class Visit:
    """Reference image of one visit.

    Attributes
    ----------
    name : str
        What notes and errors call it, such as ``ses-01``.
    data : ndarray, shape (X, Y, Z)
        Image of any contrast; the same at all visits is best.
    affine : ndarray, shape (4, 4)
        Voxels to world (RAS+, mm).
    mask : ndarray of bool, shape (X, Y, Z)
        Brain.
    excluded : ndarray of bool, shape (X, Y, Z), optional
        What of it is not compared: a lesion that grows or is removed would pull the rest along.
    """

    name: str
    data: Array
    affine: Affine
    mask: MaskArray
    excluded: MaskArray | None = None

    @property
    def compared(self) -> MaskArray:
        """Brain without what is excluded."""
        return self.mask if self.excluded is None else self.mask & ~self.excluded

    def points(self) -> FloatArray:
        """World coordinates of the brain's voxels in mm, a 1 below each, shape (4, N)."""
        voxels = np.argwhere(self.mask)
        return np.asarray(self.affine @ np.c_[voxels, np.ones(len(voxels))].T)


@dataclass(frozen=True)
class Pair:
    """How well two visits agree.

    Attributes
    ----------
    first, second : str
        Names of the visits.
    mutual_information_before, mutual_information_after : float
        Bits per voxel of the brain, with the headers' alignment and in the midway space; mean of the two
        visits' brains.
    inverse_consistency : float
        Mean distance in mm in the brain after the registration of one to the other and back.
    residual : float
        Mean distance in mm in the brain between the pair's registrations and the midway space.
    doubtful : bool
        Whether the two hardly count for the midway space; a note says why.
    """

    first: str
    second: str
    mutual_information_before: float
    mutual_information_after: float
    inverse_consistency: float
    residual: float
    doubtful: bool


@dataclass(frozen=True)
class Midway:
    """The midway space: where it lies in each visit, its grid, and how well the visits agree in it.

    ``resample(visit.data, visit.affine, midway.shape, midway.affine, matrix=midway.matrices[i])`` brings a
    visit there in one interpolation.

    Attributes
    ----------
    matrices : list of ndarray, shape (4, 4)
        A visit each, in the order given: midway world to visit world (RAS+, mm), rigid.
    shape : (int, int, int)
        Midway grid.
    affine : ndarray, shape (4, 4)
        Its voxels to world: isotropic, axes to the right, front and top.
    pairs : list of Pair
        The pairs that were registered.
    loop_error : float or None
        Of all ways round three visits, the largest mean distance in mm in the brain after the three
        registrations; None where no three visits were all registered to each other.
    notes : list of str
        Sentences for the user that name doubtful pairs; empty if all went well.
    """

    matrices: list[Affine]
    shape: tuple[int, int, int]
    affine: Affine
    pairs: list[Pair]
    loop_error: float | None
    notes: list[str]


def find_midway(
    visits: Sequence[Visit], *, margin: float = MARGIN, seed: int = 0, threads: int = 1
) -> Midway:
    """Space half-way between the visits of one subject, which does not depend on their order.

    All pairs of visits are registered in both directions. The rotations of the visits are those that
    agree best with all registrations, by least squares: the leading eigenvectors of the matrix that holds
    the registrations' rotations as blocks [1]_. The positions of the brain's centre follow from a linear
    least-squares problem in turn. The midway space has the mean of the visits' rotations and the mean of
    the brain's positions: with two visits, one is turned and shifted by half the difference, the other by
    the opposite half. A pair whose registration is in doubt, or whose two registrations are not each
    other's inverse (1 mm), counts only if nothing else connects its visits.

    Of more than 6 visits each is only registered, both ways, to the one that shares most information with
    the others (their median, headers' alignment): 2 (n - 1) registrations in place of n (n - 1). That visit
    is not favoured by the space, but a flaw of its image affects all.

    The voxels of the grid are cubes: the median over the visits of the geometric mean of a visit's voxel
    sizes. It holds the brains of all visits.

    Parameters
    ----------
    visits : sequence of Visit
        Two or more, of the same subject.
    margin : float
        What the grid holds around the brains, in mm.
    seed : int
        Of the metric's sampling.
    threads : int
        Threads of ITK.

    Returns
    -------
    Midway
        Matrices, grid, quality and notes.

    Raises
    ------
    DataError
        There are fewer than two visits, an image is not three-dimensional, constant or not finite, or a
        mask is empty or not on its image's grid.

    References
    ----------
    .. [1] Singer, Appl Comput Harmon Anal 30:20, 2011; Arie-Nachimson et al., 3DIMPVT 2012.
    """
    if len(visits) < 2:
        raise DataError("fewer than two visits have no common space", "use the visit's own space")
    for visit in visits:
        _check(visit)
    grids = [prepare_image(visit.data, visit.affine, visit.compared, visit.name) for visit in visits]
    found = {
        (i, j): _register(visits[i], visits[j], seed, threads)
        for first, second in _chosen_pairs(grids)
        for i, j in ((first, second), (second, first))
    }
    between = {pair: result.matrix for pair, result in found.items()}
    gaps = {(i, j): _gap(visits[i], between[i, j], between[j, i]) for i, j in found}
    doubts = {pair: _doubt(visits, found, gaps, pair) for pair in found if pair[0] < pair[1]}
    weights = np.zeros((len(visits), len(visits)))
    for (i, j), doubt in doubts.items():
        weights[i, j] = weights[j, i] = _DOUBTFUL_WEIGHT if doubt else 1.0
    matrices = combine(between, [visit.points()[:3].mean(axis=1) for visit in visits], weights)
    shape, affine = _midway_grid(visits, matrices, margin)
    loop = _loop_error(visits, between)
    notes = [doubt for doubt in doubts.values() if doubt]
    if loop is not None and loop > LARGEST_GAP and not notes:
        notes.append(
            f"The visits' alignments contradict each other: from visit to visit and back to the first, the "
            f"brain moves by {loop:.1f} mm. Look at the images in their common space."
        )
    pairs = [
        Pair(
            visits[i].name,
            visits[j].name,
            _agreement(grids[i], grids[j], np.eye(4)),
            _agreement(grids[i], grids[j], matrices[j] @ np.linalg.inv(matrices[i])),
            (gaps[i, j] + gaps[j, i]) / 2,
            _residual(visits, between, matrices, (i, j)),
            bool(doubts[i, j]),
        )
        for i, j in doubts
    ]
    return Midway(matrices, shape, affine, pairs, loop, notes)


def _check(visit: Visit) -> None:
    if visit.mask.shape != visit.data.shape or not visit.mask.any():
        raise DataError(
            f"the brain mask of {visit.name} (shape {visit.mask.shape}, {int(visit.mask.sum())} voxels) is "
            f"empty or not on the image's grid (shape {visit.data.shape})",
            "give a mask of the brain on the image's grid",
        )
    if visit.excluded is None:
        return
    if visit.excluded.shape != visit.mask.shape or not visit.compared.any():
        raise DataError(
            f"the mask of what is excluded of {visit.name} is on another grid or leaves nothing of the brain",
            "give a mask on the image's grid, or exclude less",
        )


def _chosen_pairs(grids: Sequence[Grid]) -> list[tuple[int, int]]:
    """Pairs of visits to register: all; of many visits, those with the one that is most like the others."""
    count = len(grids)
    if count <= MOST_IN_PAIRS:
        return list(combinations(range(count), 2))
    shared = np.full((count, count), np.nan)
    for i, j in combinations(range(count), 2):
        shared[i, j] = shared[j, i] = _agreement(grids[i], grids[j], np.eye(4))
    centre = int(np.nanmedian(shared, axis=1).argmax())
    return [(min(i, centre), max(i, centre)) for i in range(count) if i != centre]


def _register(fixed: Visit, moving: Visit, seed: int, threads: int) -> RigidResult:
    return register_rigid(
        moving.data,
        moving.affine,
        fixed.data,
        fixed.affine,
        fixed_mask=fixed.compared,
        moving_mask=None if moving.excluded is None else ~moving.excluded,
        seed=seed,
        threads=threads,
    )


def _gap(visit: Visit, there: Affine, back: Affine) -> float:
    return inverse_consistency(there, back, visit.mask, visit.affine)


def _doubt(
    visits: Sequence[Visit],
    found: dict[tuple[int, int], RigidResult],
    gaps: dict[tuple[int, int], float],
    pair: tuple[int, int],
) -> str:
    """Sentence that says why a pair's alignment is doubtful; empty if it is not."""
    i, j = pair
    names = f"The alignment of {visits[i].name} and {visits[j].name} is doubtful: "
    for result in (found[i, j], found[j, i]):
        if result.doubtful:
            return names + result.notes[0]
    gap = max(gaps[i, j], gaps[j, i])
    if gap > LARGEST_GAP:
        return names + f"registered one way and back, the brain moves by {gap:.1f} mm. Look at both images."
    return ""


def _residual(
    visits: Sequence[Visit], between: Between, matrices: Sequence[Affine], pair: tuple[int, int]
) -> float:
    """Mean distance in mm between where two registrations and the midway space take the brain."""
    gaps = [
        _gap(visits[i], between[i, j], matrices[i] @ np.linalg.inv(matrices[j]))
        for i, j in (pair, pair[::-1])
    ]
    return float(np.mean(gaps))


def _agreement(first: Grid, second: Grid, matrix: Affine) -> float:
    """Mutual information in bits per voxel, mean of the two brains; `matrix` is first to second world."""
    back = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    return (shared_information(first, second, matrix) + shared_information(second, first, back)) / 2


def _loop_error(visits: Sequence[Visit], between: Between) -> float | None:
    """Largest mean displacement in mm on a way round three visits; None if there is no such way."""
    errors = [
        _gap(visits[i], between[j, k] @ between[i, j], between[k, i])
        for i, j, k in permutations(range(len(visits)), 3)
        if {(i, j), (j, k), (k, i)} <= between.keys()
    ]
    return max(errors, default=None)


def combine(
    between: Between, centres: Sequence[FloatArray], weights: FloatArray | None = None
) -> list[Affine]:
    """Matrices from the midway world to each visit's world that agree best with those between visits.

    Parameters
    ----------
    between : mapping of (i, j) to ndarray, shape (4, 4)
        World of visit i to world of visit j, rigid, for both directions of each pair. The pairs connect all
        visits.
    centres : sequence of n ndarray, shape (3,)
        The brain's centre in each visit's world, roughly; rotations are about it, so that their errors
        do not become shifts.
    weights : ndarray, shape (n, n), optional
        Of the pairs, symmetric; all 1 if not given.

    Returns
    -------
    list of n ndarray, shape (4, 4)
    """
    used = np.zeros((len(centres), len(centres)))
    for i, j in between:
        used[i, j] = 1 if weights is None else weights[i, j]
    rotations = _mean_rotations(between, used)
    positions = _mean_positions(between, used, np.array(centres), rotations)
    middle = positions.mean(axis=0)
    matrices = []
    for rotation, position in zip(rotations, positions, strict=True):
        matrix = np.eye(4)
        matrix[:3, :3] = rotation
        matrix[:3, 3] = position - rotation @ middle
        matrices.append(matrix)
    return matrices


def _mean_rotations(between: Between, weights: FloatArray) -> list[FloatArray]:
    """Rotation from the midway to each visit, whose mean is none.

    Where ``R_j = R_ij R_i`` holds, the stacked rotations are the eigenvectors with eigenvalue 1 of the
    blocks ``w_ij R_ij``, scaled by the sums of weights; where it holds nearly, the three largest ones are
    the least-squares solution, but for the blocks' being rotations, and the nearest rotations are taken.
    """
    count = len(weights)
    scale = 1 / np.sqrt(weights.sum(axis=1))
    blocks = np.zeros((count, 3, count, 3))
    for (i, j), matrix in between.items():
        both = (matrix[:3, :3] + between[j, i][:3, :3].T) / 2
        blocks[j, :, i, :] = weights[i, j] * scale[i] * scale[j] * both
    stacked = np.linalg.eigh(blocks.reshape(3 * count, 3 * count))[1][:, -3:].reshape(count, 3, 3)
    if np.linalg.det(stacked).sum() < 0:
        stacked[..., 0] *= -1
    rotations = [_nearest_rotation(block) for block in stacked]
    # The eigenvectors leave one rotation of the midway space open.
    common = _nearest_rotation(np.sum(rotations, axis=0)).T
    return [np.asarray(rotation @ common) for rotation in rotations]


def _nearest_rotation(matrix: FloatArray) -> FloatArray:
    """Rotation nearest to a matrix in the sum of squares (orthogonal Procrustes)."""
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right)


def _mean_positions(
    between: Between, weights: FloatArray, centres: FloatArray, rotations: Sequence[FloatArray]
) -> FloatArray:
    """Where one point of the brain, the mean of all visits' centres, lies in each visit; shape (n, 3).

    With the point of visit i at ``c_i + R_i u_i``, a registration from i to j says that ``u_j - u_i`` is
    ``R_j^-1 (T_ij(c_i) - c_j)``: a linear least-squares problem with the pairs' graph Laplacian, whose
    open constant is fixed by a mean of 0.
    """
    gaps = np.zeros((*weights.shape, 3))
    for (i, j), matrix in between.items():
        moved = matrix[:3, :3] @ centres[i] + matrix[:3, 3]
        gaps[i, j] = rotations[j].T @ (moved - centres[j])
    gaps = (gaps - gaps.transpose(1, 0, 2)) / 2
    laplacian = np.diag(weights.sum(axis=0)) - weights
    offsets = np.linalg.pinv(laplacian) @ (weights[..., np.newaxis] * gaps).sum(axis=0)
    return np.asarray(centres + np.einsum("nij,nj->ni", np.array(rotations), offsets))


def _midway_grid(
    visits: Sequence[Visit], matrices: Sequence[Affine], margin: float
) -> tuple[tuple[int, int, int], Affine]:
    """Shape and affine of the grid, whose voxel centres lie at multiples of the voxel size."""
    size = float(np.median([np.prod(voxel_sizes(visit.affine)) ** (1 / 3) for visit in visits]))
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    for visit, matrix in zip(visits, matrices, strict=True):
        to_midway = np.linalg.inv(matrix)
        points = (to_midway @ visit.points())[:3]
        reach = np.abs((to_midway @ visit.affine)[:3, :3]).sum(axis=1) / 2 + margin
        low, high = np.minimum(low, points.min(axis=1) - reach), np.maximum(high, points.max(axis=1) + reach)
    # Rounded, so that the last digits, which the order of the visits changes, do not add a slice.
    first, last = np.floor(np.round(low / size, _DECIMALS)), np.ceil(np.round(high / size, _DECIMALS))
    affine = np.diag([size, size, size, 1.0])
    affine[:3, 3] = first * size
    x, y, z = (int(count) for count in last - first + 1)
    return (x, y, z), affine
