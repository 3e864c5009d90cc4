"""Several visits meet where none is favoured, whatever the order in which they come."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.shared import DATA, REAL, needs_real_data
from voxelome.errors import DataError
from voxelome.imageio import load_volume
from voxelome.orientation import to_canonical
from voxelome.registration import midway
from voxelome.registration.midway import Midway, Visit, combine, find_midway
from voxelome.registration.resample import resample
from voxelome.registration.rigid import RigidResult
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
    voxels = AFFINE @ np.diag([1.5, 1.5, 1.5, 1.0])
    grid = ((66, 78, 63), matrix @ voxels if seed == 2 else voxels)
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
    np.testing.assert_allclose(np.diag(three.affine)[:3], 3.0)
    for seed, (matrix, placed) in enumerate(zip(POSES, three.matrices, strict=True)):
        visit = seen(matrix, seed)
        voxels = np.linalg.inv(three.affine) @ np.linalg.inv(placed) @ visit.points()
        assert (voxels[:3] >= 2).all()
        assert (np.array(three.shape) - 3 >= voxels[:3].T).all()


EVERY_OTHER = (slice(None, None, 2),) * 3
COARSE = AFFINE @ np.diag([2.0, 2.0, 2.0, 1.0])


def coarse(name: str, matrix: Any, image: Any = BRAIN) -> Visit:
    """The head on voxels of 4 mm, its header moved: quick to register."""
    return Visit(name, image[EVERY_OTHER], matrix @ COARSE, MASK[EVERY_OTHER])


def test_identical_visits_stay_where_they_are():
    result = find_midway([coarse(f"ses-{number}", np.eye(4)) for number in (1, 2)])
    np.testing.assert_allclose(result.matrices, [np.eye(4)] * 2, atol=1e-9)
    assert result.notes == []


def test_visits_in_another_order_and_contrast_meet_in_the_same_place():
    other = np.where(BRAIN > 0.05, 1.2 - BRAIN, 0)
    visits = [coarse("ses-1", POSES[0]), coarse("ses-2", POSES[1], other)]
    straight, turned = find_midway(visits), find_midway(visits[::-1])
    np.testing.assert_allclose(turned.matrices[::-1], straight.matrices, atol=1e-9)
    assert turned.shape == straight.shape
    np.testing.assert_array_equal(turned.affine, straight.affine)
    found = straight.matrices[1] @ np.linalg.inv(straight.matrices[0])
    assert np.linalg.norm(((found - POSES[1]) @ [*CENTRE, 1])[:3]) < 0.5


def stub(monkeypatch: pytest.MonkeyPatch, poses: list[Any], wrong: dict[tuple[int, int], Any]) -> list[Any]:
    """Registrations that find the truth, `wrong` moved (and doubtful where it says so); the calls made."""
    calls: list[Any] = []

    def register(moving: Any, moving_affine: Any, fixed: Any, fixed_affine: Any, **_: Any) -> RigidResult:
        # A visit is told by its header.
        i, j = (
            next(k for k, matrix in enumerate(poses) if np.allclose(matrix @ COARSE, affine))
            for affine in (fixed_affine, moving_affine)
        )
        calls.append((i, j))
        matrix = poses[j] @ np.linalg.inv(poses[i])
        if (i, j) in wrong:
            shift, doubtful = wrong[i, j]
            return RigidResult(pose([0, 0, 0], shift) @ matrix, 0, 0, ["They differ."], doubtful)
        return RigidResult(matrix, 0, 1)

    monkeypatch.setattr(midway, "register_rigid", register)
    return calls


def placed(poses: list[Any]) -> list[Visit]:
    return [coarse(f"ses-{number}", matrix) for number, matrix in enumerate(poses)]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({(0, 1): ([30, 0, 0], True), (1, 0): ([-30, 0, 0], True)}, "They differ"),
        ({(0, 1): ([4, 0, 0], False)}, "the brain moves by 4.0 mm"),
    ],
    ids=["said by the registration", "directions contradict"],
)
def test_a_doubtful_pair_is_named_and_does_not_count_where_others_connect_it(monkeypatch, wrong, why):
    stub(monkeypatch, POSES, wrong)
    result = find_midway(placed(POSES))
    (note,) = result.notes
    assert "ses-0 and ses-1" in note
    assert why in note
    assert [pair.doubtful for pair in result.pairs] == [True, False, False]
    for i, j in permutations(range(3), 2):
        found = result.matrices[j] @ np.linalg.inv(result.matrices[i])
        truth = POSES[j] @ np.linalg.inv(POSES[i])
        assert np.linalg.norm(((found - truth) @ POSES[i] @ [*CENTRE, 1])[:3]) < 0.05


def test_registrations_that_contradict_each_other_round_a_loop_are_told(monkeypatch):
    shift = np.linalg.inv(POSES[1])[:3, :3] @ [-3, 0, 0]
    stub(monkeypatch, POSES, {(0, 1): ([3, 0, 0], False), (1, 0): (shift, False)})
    result = find_midway(placed(POSES))
    assert result.loop_error == pytest.approx(3, abs=0.01)
    (note,) = result.notes
    assert "moves by 3.0 mm" in note
    assert [pair.residual for pair in result.pairs] == pytest.approx([1, 1, 1], abs=0.05)


def test_many_visits_are_each_registered_to_one_only(monkeypatch):
    rng = np.random.default_rng(0)
    poses = [pose(list(rng.normal(0, 4, 3)), list(rng.normal(0, 4, 3))) for _ in range(8)]
    calls = stub(monkeypatch, poses, {})
    result = find_midway(placed(poses))
    assert len(calls) == 14
    assert len(set.intersection(*map(set, calls))) == 1
    assert result.loop_error is None
    for matrix, truth in zip(result.matrices, poses, strict=True):
        expected = truth @ np.linalg.inv(poses[0]) @ result.matrices[0]
        np.testing.assert_allclose(matrix, expected, atol=1e-9)


def test_a_lesion_that_grows_is_left_out_of_the_comparison():
    lesion = np.linalg.norm(np.argwhere(MASK) - [30, 60, 50], axis=1) < 14
    grown, excluded = BRAIN.copy(), np.zeros_like(MASK)
    excluded[MASK] = lesion
    grown[excluded] = 1.5
    first = coarse("ses-1", POSES[0])
    second = coarse("ses-2", POSES[1], grown)
    second = Visit(
        *(getattr(second, name) for name in ("name", "data", "affine", "mask")), excluded[EVERY_OTHER]
    )
    result = find_midway([first, second])
    found = result.matrices[1] @ np.linalg.inv(result.matrices[0])
    assert np.linalg.norm(((found - POSES[1]) @ [*CENTRE, 1])[:3]) < 0.2
    with pytest.raises(DataError, match="leaves nothing"):
        find_midway([first, Visit("ses-2", first.data, first.affine, first.mask, first.mask)])


def test_one_visit_alone_is_refused():
    with pytest.raises(DataError, match="have no common space"):
        find_midway([Visit("ses-1", BRAIN, AFFINE, MASK)])


def test_a_visit_without_a_brain_is_named():
    empty = Visit("ses-2", BRAIN, AFFINE, MASK & False)
    with pytest.raises(DataError, match="ses-2"):
        find_midway([Visit("ses-1", BRAIN, AFFINE, MASK), empty])


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


def published(path: Any) -> Any:
    """Common space to visit, RAS mm, of a transform in ITK's text form."""
    numbers = [np.array(line.split()[1:], dtype=float) for line in path.read_text().splitlines()[3:5]]
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[0][:9].reshape(3, 3)
    matrix[:3, 3] = numbers[0][9:] + numbers[1] - matrix[:3, :3] @ numbers[1]
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    return flip @ matrix @ flip


@needs_real_data
def test_two_real_visits_lie_to_each_other_as_the_authors_of_the_data_found():
    visits, theirs = [], []
    for number in (1, 2):
        volume = load_volume(REAL / f"sub-ms01/ses-0{number}/anat/sub-ms01_ses-0{number}_FLAIR.nii.gz")
        away = (np.indices(volume.data.shape).T - np.array(volume.data.shape) / 2) * volume.spacing
        ball = np.linalg.norm(away / (66, 84, 62), axis=-1).T < 1  # mm, nearly all of it brain
        visits.append(Visit(f"ses-0{number}", volume.data, volume.affine, ball))
        theirs.append(published(DATA / "extra" / "ms_long01" / f"study{number}_FLAIR_to_common_space.txt"))
    ours = find_midway(visits).matrices
    gap = ours[1] @ np.linalg.inv(ours[0]) - theirs[1] @ np.linalg.inv(theirs[0])
    # Their transforms have scales, too, of up to 0.2 %.
    assert np.linalg.norm((gap @ visits[0].points())[:3], axis=0).mean() < 0.5
