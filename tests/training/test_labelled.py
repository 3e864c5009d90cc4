"""Training on real cases: the network sees what it will see at inference, and nobody on both sides."""

import numpy as np
import pytest

from voxelome.errors import InputError
from voxelome.imageio import load_volume, save_volume
from voxelome.segmentation.prepare import prepare
from voxelome.segmentation.spec import parse_spec
from voxelome.training.augment import augmented, some_absent
from voxelome.training.fields import Dice
from voxelome.training.labelled import Labelled, load_case, on_network_grid, store_cases
from voxelome.training.labelled_files import cases_for, contrasts_of, find_visits, names_of, split

from .toys import save_run

torch = pytest.importorskip("torch", reason="training needs torch, which is in an environment of its own")
INPUTS = [{"contrast": "FLAIR", "clip": [-6, 10]}, {"contrast": "T1w", "need": "optional"}]


def spec_of(activation="softmax", spacing=2.0, inputs=INPUTS, labels=None):
    grid = {"spacing": [spacing] * 3, "patch": [16, 16, 16], "margin": 4}
    outputs = {"activation": activation, "labels": labels or {1: "spot"}}
    return parse_spec(
        {"name": "toy", "task": "segmentation", "inputs": inputs, "grid": grid, "outputs": outputs}
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("run") / "out", people=6, sessions=2)


@pytest.fixture(scope="module")
def cases(run):
    return cases_for(find_visits(run, "spot"), spec_of())[0]


def stored(cases, folder, spec=None):
    return store_cases(cases, spec or spec_of(), folder, lambda text: None)


def test_a_run_gives_every_visit_with_its_images_by_contrast(run):
    visits = find_visits(run, "spot")
    assert len(visits) == 12
    assert visits[0].unit == "sub-00_ses-1"
    assert sorted(visits[0].images) == ["FLAIR", "T1w"]
    assert visits[0].labels.name == "sub-00_ses-1_space-T1w_desc-spot_dseg.nii.gz"
    assert contrasts_of(visits) == [("FLAIR", False, True), ("T1w", False, True)]
    assert names_of(visits, "spot") == {1: "spot"}


@pytest.mark.parametrize("spacing", [2.0, 3.0])
def test_training_sees_exactly_what_inference_sees(cases, tmp_path, spacing):
    spec = spec_of(spacing=spacing)
    (path,) = stored(cases[:1], tmp_path, spec)
    brain = load_volume(cases[0].brain, dtype=None)
    images = [load_volume(image).data for image in cases[0].images]
    wanted = prepare(images, brain.affine, brain.data > 0, spec)
    kept = np.load(f"{path}_image.npy")
    assert kept.shape == wanted.stack.shape
    assert np.abs(kept - wanted.stack).max() <= 4e-3  # the rounding of float16
    regions = np.load(f"{path}_regions.npy")
    assert (regions[-1] == wanted.inside).all()


def test_regions_are_the_labels_on_the_networks_grid(cases):
    case = load_case(cases[0], spec_of())
    volume = (case.labels > 0).sum() * 8
    for spacing in (2.0, 3.0):
        _, regions = on_network_grid(case, spec_of(spacing=spacing))
        assert (regions.sum(axis=0) == 1).all()
        assert regions[1].sum() * spacing**3 == pytest.approx(volume, rel=0.12)
        _, alone = on_network_grid(case, spec_of("sigmoid", spacing))
        assert alone.shape[0] == 1
    _, both = on_network_grid(case, spec_of("sigmoid", labels={2: "core", 1: "spot"}))
    # The channels of overlapping labels are in the order of the entry, as at inference.
    assert [bool(channel.any()) for channel in both] == [False, True]


def test_half_of_the_boxes_and_more_hold_a_lesion_and_a_seed_gives_one_box(cases, tmp_path):
    source = Labelled(stored(cases[:4], tmp_path), spec_of(), (8, 8, 8))
    make = source.open("cpu")
    boxes = [make(seed) for seed in range(120)]
    share = np.mean([regions[1].any() for _, regions in boxes])
    # Of boxes at random about one in twenty does.
    assert 0.45 < share < 0.75
    image, regions = source.open("cpu")(7)
    assert (image == boxes[7][0]).all()
    assert (regions == boxes[7][1]).all()
    assert all((regions.sum(axis=0) == 1).all() for _, regions in boxes)


def test_a_box_larger_than_the_case_is_filled_up_with_background(cases, tmp_path):
    source = Labelled(stored(cases[:1], tmp_path), spec_of(), (64, 64, 64))
    image, regions = source.open("cpu")(0)
    assert image.shape == (2, 64, 64, 64)
    assert regions[0].sum() + regions[1].sum() == 64**3
    assert regions[1].any()


def test_nobody_is_on_both_sides_and_every_visit_is_on_one(cases):
    for seed in range(5):
        training, testing = split(cases, seed)
        inside, outside = ({case.participant for case in side} for side in (training, testing))
        assert not inside & outside
        assert len(training) + len(testing) == len(cases)
        assert len(outside) == 1
    chosen = {split(cases, seed)[1][0].participant for seed in range(20)}
    assert len(chosen) > 2


def test_one_participant_is_not_enough(cases):
    with pytest.raises(InputError, match="at least two participants"):
        split([case for case in cases if case.participant == "00"], 0)


def test_a_name_that_no_labels_have_is_refused_with_those_there_are(run, tmp_path):
    with pytest.raises(InputError, match="no visit has labels named 'sopt'; did you mean spot"):
        find_visits(run, "sopt")
    with pytest.raises(InputError, match="no output of voxelome"):
        find_visits(tmp_path, "spot")


def test_a_visit_without_an_image_that_is_needed_is_left_out_and_said(tmp_path):
    folder = save_run(tmp_path / "out", people=2)
    next(folder.glob("sub-01/anat/*FLAIR.nii.gz")).unlink()
    cases, said = cases_for(find_visits(folder, "spot"), spec_of())
    assert [case.unit for case in cases] == ["sub-00"]
    assert said == ["sub-01 is left out: it has no FLAIR"]


def test_labels_on_another_grid_or_without_a_name_are_refused(tmp_path):
    folder = save_run(tmp_path / "out", people=1)
    (cases, _) = cases_for(find_visits(folder, "spot"), spec_of())
    drawn = load_volume(cases[0].labels, dtype=None)
    save_volume(cases[0].labels, (3 * drawn.data).astype(np.int16), drawn.affine)
    with pytest.raises(InputError, match="label 3, which toy does not have"):
        load_case(cases[0], spec_of())
    save_volume(cases[0].labels, drawn.data[:-1], drawn.affine)
    with pytest.raises(InputError, match="not on the grid of the brain mask"):
        load_case(cases[0], spec_of())


def test_tables_that_contradict_each_other_are_refused(tmp_path):
    folder = save_run(tmp_path / "out", people=2, names={1: "spot"})
    assert names_of(find_visits(folder, "spot"), "x") == {1: "spot"}
    next(folder.glob("sub-01/anat/*.tsv")).write_text("index\tname\n1\tstain\n")
    with pytest.raises(InputError, match="names label 1 stain, and others spot"):
        names_of(find_visits(folder, "spot"), "x")


def test_a_table_without_a_name_is_refused(tmp_path):
    folder = save_run(tmp_path / "out", people=1, names={1: ""})
    with pytest.raises(InputError, match=r"dseg\.tsv: has no name for label 1"):
        names_of(find_visits(folder, "spot"), "x")


def test_changed_images_keep_mean_and_spread_within_bounds_and_zeros_outside():
    rng = np.random.default_rng(0)
    inside = np.zeros((24, 24, 24), bool)
    inside[4:20, 4:20, 4:20] = True
    image = (rng.normal(0, 1, (2, 24, 24, 24)) * inside).astype(np.float32)
    image[1] = 0
    changed = [augmented(image, inside, Dice(seed)) for seed in range(20)]
    assert any((other == image).all() for other in changed)
    assert sum((other != image).any() for other in changed) > 10
    for other in changed:
        assert np.isfinite(other).all()
        assert not other[:, ~inside].any()
        assert not other[1].any()
        assert abs(other[0][inside].mean()) < 0.3
        assert 0.8 < other[0][inside].std() < 1.3


def test_inputs_go_missing_only_where_the_network_can_do_without():
    inputs = [
        {"contrast": "FLAIR", "need": "one"},
        {"contrast": "T2w", "need": "one"},
        {"contrast": "T1w", "need": "optional"},
        {"contrast": "PDw"},
    ]
    spec = spec_of(inputs=inputs)
    there = np.array(
        [some_absent(np.ones((4, 2, 2, 2)), spec, Dice(seed)).any(axis=(1, 2, 3)) for seed in range(200)]
    )
    assert there[:, :2].any(axis=1).all()
    assert there[:, 3].all()
    assert 0.65 < there[:, 2].mean() < 0.85
    assert not there[:, 0].all()
    assert not there[:, 1].all()
