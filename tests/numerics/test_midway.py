"""Several visits meet where none is favoured, whatever the order in which they come."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.shared import REAL, needs_real_data
from voxelome.errors import DataError
from voxelome.imageio import load_volume
from voxelome.orientation import to_canonical
from voxelome.registration.midway import Midway, Visit, combine, find_midway
from voxelome.registration.resample import resample
from voxelome.registration.template import load_template

BRAIN, AFFINE, MASK = load_template(2)
CENTRE = (AFFINE @ np.append(np.argwhere(MASK).mean(axis=0), 1))[:3]


def pose(degrees: list[float], shift: list[float]) -> Any:
    """Rotation about the brain's centre, then a shift (mm)."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    matrix[:3, 3] = CENTRE - matrix[:3, :3] @ CENTRE + shift
    return matrix


def turn(matrix: Any) -> Any:
    return Rotation.from_matrix(matrix[:3, :3]).as_rotvec(degrees=True)


def exact(poses: list[Any]) -> tuple[dict[tuple[int, int], Any], list[Any]]:
    """Pairwise matrices and brain centres of heads in known poses."""
    pairs = permutations(range(len(poses)), 2)
    between = {(i, j): poses[j] @ np.linalg.inv(poses[i]) for i, j in pairs}
    return between, [(matrix @ [*CENTRE, 1])[:3] for matrix in poses]


POSES = [pose([0, 0, 0], [0, 0, 0]), pose([8, -4, 10], [6, -8, 5]), pose([-5, 9, 3], [-7, 2, 12])]


def test_two_visits_are_moved_by_equal_and_opposite_halves():
    first, second = combine(*exact(POSES[:2]))
    np.testing.assert_allclose(second @ np.linalg.inv(first), POSES[1], atol=1e-5)
    np.testing.assert_allclose(turn(first), -turn(second), atol=1e-6)
    centre = np.mean([CENTRE, (POSES[1] @ [*CENTRE, 1])[:3]], axis=0)
    moves = [(matrix @ [*centre, 1])[:3] - centre for matrix in (first, second)]
    np.testing.assert_allclose(moves[0], -moves[1], atol=1e-5)
    assert np.linalg.norm(moves[0]) == pytest.approx(np.linalg.norm([6, -8, 5]) / 2, abs=1e-4)


def test_of_three_visits_the_turns_average_to_none_and_all_pairs_are_kept():
    matrices = combine(*exact(POSES))
    for i, j in permutations(range(3), 2):
        expected = POSES[j] @ np.linalg.inv(POSES[i])
        np.testing.assert_allclose(matrices[j] @ np.linalg.inv(matrices[i]), expected, atol=1e-5)
    mean = Rotation.from_matrix([matrix[:3, :3] for matrix in matrices]).mean()
    assert np.degrees(mean.magnitude()) < 1e-4


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (1, 2, 0)])
def test_the_order_of_the_visits_does_not_matter(order):
    straight = combine(*exact(POSES))
    mixed = combine(*exact([POSES[i] for i in order]))
    for place, i in enumerate(order):
        np.testing.assert_allclose(mixed[place], straight[i], atol=1e-5)


def test_an_error_of_one_pair_is_shared_by_all():
    between, centres = exact(POSES)
    between[0, 1] = pose([0, 0, 3], [0, 0, 0]) @ between[0, 1]
    between[1, 0] = np.linalg.inv(between[0, 1])
    matrices = combine(between, centres)
    off = [
        np.degrees(
            Rotation.from_matrix(
                (matrices[j] @ np.linalg.inv(matrices[i]) @ np.linalg.inv(between[i, j]))[:3, :3]
            ).magnitude()
        )
        for i, j in ((0, 1), (1, 2), (0, 2))
    ]
    np.testing.assert_allclose(off, [1, 1, 1], atol=0.05)


def seen(matrix: Any, seed: int) -> Visit:
    """The head in a pose, with its own noise, on its own grid."""
    grid = (BRAIN.shape, matrix @ AFFINE if seed == 2 else AFFINE)
    data = resample(BRAIN, AFFINE, *grid, matrix=np.linalg.inv(matrix))
    mask = resample(MASK.astype(np.uint8), AFFINE, *grid, matrix=np.linalg.inv(matrix), order="nearest") > 0
    noise = np.random.default_rng(seed).normal(0, 0.02, data.shape) * mask
    return Visit(f"ses-{seed}", (data + noise).astype(np.float32), grid[1], mask)


@pytest.fixture(scope="module")
def three() -> Midway:
    return find_midway([seen(matrix, seed) for seed, matrix in enumerate(POSES)])


def test_known_motions_between_three_visits_are_recovered(three):
    points = AFFINE @ np.insert(np.argwhere(MASK)[::50].T, 3, 1, axis=0)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        truth = POSES[j] @ np.linalg.inv(POSES[i])
        found = three.matrices[j] @ np.linalg.inv(three.matrices[i])
        gap = ((found - truth) @ POSES[i] @ points)[:3]
        assert np.linalg.norm(gap, axis=0).mean() < 0.3
    for pair in three.pairs:
        assert pair.inverse_consistency < 0.3
        assert pair.residual < 0.3
        assert pair.mutual_information_after > pair.mutual_information_before
    assert three.notes == []


def test_the_grid_holds_all_brains_and_is_no_finer_than_the_images(three):
    np.testing.assert_allclose(np.diag(three.affine)[:3], 2.0)
    for seed, (matrix, placed) in enumerate(zip(POSES, three.matrices, strict=True)):
        visit = seen(matrix, seed)
        voxels = np.linalg.inv(three.affine) @ np.linalg.inv(placed) @ visit.points()
        assert (voxels[:3] >= 2).all()
        assert (np.array(three.shape) - 3 >= voxels[:3].T).all()


def test_one_visit_alone_is_refused():
    with pytest.raises(DataError, match="have no common space"):
        find_midway([Visit("ses-1", BRAIN, AFFINE, MASK)])


@needs_real_data
def test_two_real_visits_meet_with_all_of_their_information():
    visits = []
    for number in ("01", "02"):
        path = REAL / f"sub-ms01/ses-{number}/anat/sub-ms01_ses-{number}_T1w.nii.gz"
        volume = load_volume(path)
        data, affine = to_canonical(volume.data, volume.affine)
        middle = np.array(data.shape) / 2
        away = (np.indices(data.shape).T - middle) * np.linalg.norm(affine[:3, :3], axis=0)
        visits.append(Visit(number, data, affine, np.linalg.norm(away, axis=-1).T < 65))
    result = find_midway(visits)
    (pair,) = result.pairs
    assert pair.inverse_consistency < 0.5
    assert pair.mutual_information_after > 1.5 * pair.mutual_information_before
    np.testing.assert_allclose(turn(result.matrices[0]), -turn(result.matrices[1]), atol=1e-3)
