"""Networks of whole cases: what they get, what they say, how it varies, and where it comes from."""

import nibabel as nib
import numpy as np
import pytest

from voxelome.errors import DataError
from voxelome.segmentation.cases import Variation, predict_case
from voxelome.segmentation.saliency import Occlusion, boxes, few_boxes, occlusion_map
from voxelome.segmentation.spec import parse_spec

STILL = Variation(count=0)


def spec(patch=(8, 8, 8), inputs=None, labels=None, activation="softmax", **grid):
    """Specification of a network of whole cases, by default one that takes the image as it is."""
    outputs = {"outcome": "sum"} if labels is None else {"labels": labels, "activation": activation}
    return parse_spec(
        {
            "name": "net",
            "task": "regression" if labels is None else "classification",
            "inputs": inputs or [{"contrast": "T1w", "rule": "none", "region": "image"}],
            "grid": {"kind": "cube", "patch": list(patch), "brain_only": False, **grid},
            "outputs": outputs,
        }
    )


def total(batch):
    return batch.sum(axis=(1, 2, 3, 4))[:, None]


def image(shape=(8, 8, 8), seed=0):
    return np.random.default_rng(seed).uniform(1, 2, shape).astype(np.float32)


def predict(data, network, about, affine=None, brain=None, variation=STILL):
    return predict_case([data], np.eye(4) if affine is None else affine, brain, about, [network], variation)


def test_an_image_on_the_networks_grid_reaches_it_unchanged():
    data = image()
    seen = []

    def network(batch):
        seen.append(batch)
        return total(batch)

    found = predict(data, network, spec())
    assert np.array_equal(seen[0][0, 0], data)
    assert found.values == pytest.approx([data.sum()], rel=1e-6)
    assert found.sd == pytest.approx([0])


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAR", "PIL"])
def test_the_network_sees_the_same_whatever_order_the_image_is_stored_in(axes):
    data, affine = image((8, 8, 8)), np.diag([2.0, 1.5, 3.0, 1])
    stored = nib.Nifti1Image(data, affine)
    change = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axes))
    )
    turned = stored.as_reoriented(change)
    weights = image((8, 8, 8), 1)

    def network(batch):
        return (batch[:, 0] * weights).sum(axis=(1, 2, 3))[:, None]

    plain = predict(data, network, spec(orientation="SAR"), affine)
    other = predict(np.asarray(turned.dataobj), network, spec(orientation="SAR"), turned.affine)
    assert other.values == pytest.approx(plain.values, rel=1e-6)
    assert other.slices == pytest.approx(plain.slices)


def test_slices_come_first_where_the_orientation_says_so_and_their_places_are_known():
    data = np.zeros((6, 4, 5), dtype=np.float32)
    data[:, :, 3] = 1
    affine = np.diag([2.0, 2.0, 4.0, 1])
    affine[2, 3] = -7

    class Network:
        def __call__(self, batch):
            return total(batch)

        def attend(self, batch):
            return batch[:, 0].mean(axis=(2, 3))

    found = predict(data, Network(), spec((5, 4, 6), orientation="SAR"), affine)
    assert found.attention == pytest.approx([0, 0, 0, 1, 0])
    assert found.slices[3] == pytest.approx([5.0, 3.0, -7 + 3 * 4])


def test_attention_is_absent_where_the_network_has_none():
    class Network:
        def __call__(self, batch):
            return total(batch)

        def attend(self, batch):
            return None

    assert predict(image(), Network(), spec()).attention is None
    assert predict(image(), total, spec()).attention is None


def test_hounsfield_windows_are_channels_with_their_edges_at_0_and_1():
    windows = [[40.0, 80.0], [600.0, 2800.0]]
    about = spec(inputs=[{"contrast": "ct", "rule": "window", "region": "image", "windows": windows}])
    data = np.full((8, 8, 8), 60.0, dtype=np.float32)
    data[0], data[1] = -1000, 2000
    seen = []

    def network(batch):
        seen.append(batch[0])
        return total(batch)

    predict(data, network, about)
    assert [seen[0][0, i, 0, 0] for i in range(3)] == pytest.approx([0, 1, 0.75])
    assert [seen[0][1, i, 0, 0] for i in range(3)] == pytest.approx([0, 1, 860 / 2800])


def test_probabilities_are_those_of_the_activation():
    def logits(batch):
        return np.tile([[1.0, 2.0, 0.5]], (len(batch), 1))

    labels = {0: "a", 1: "b", 2: "c"}
    raised = np.exp([1.0, 2.0, 0.5])
    for activation, wanted in [
        ("softmax", raised / raised.sum()),
        ("sigmoid", 1 / (1 + np.exp([-1.0, -2.0, -0.5]))),
        ("none", [1.0, 2.0, 0.5]),
    ]:
        found = predict(image(), logits, spec(labels=labels, activation=activation))
        assert found.values == pytest.approx(wanted)


def test_members_are_averaged_after_their_probabilities_are_taken():
    labels = {0: "no", 1: "yes"}
    members = [lambda batch, one=one: np.tile([[0.0, one]], (len(batch), 1)) for one in (-20.0, 20.0)]
    found = predict_case([image()], np.eye(4), None, spec(labels=labels), members, STILL)
    assert found.values == pytest.approx([0.5, 0.5])
    assert found.members == pytest.approx(np.array([[1, 0], [0, 1]]), abs=1e-6)


def test_what_does_not_depend_on_place_does_not_vary_and_what_does_varies():
    data = np.zeros((16, 16, 16), dtype=np.float32)
    data[6:10, 6:10, 6:10] = 1
    about, many = spec((16, 16, 16), mirror=[0]), Variation(count=150, angle=0, size=0)
    assert predict(data, total, about, variation=many).sd[0] < 1e-3 * data.sum()

    def left(batch):
        return batch[:, 0, :8].sum(axis=(1, 2, 3))[:, None]

    found = predict(data, left, about, variation=many)
    # A mirrored cube lies as the cube itself; what varies are the shifts of up to 3 voxels.
    assert found.passes[1] == pytest.approx(found.passes[0])
    # The share on the left is 1/2 - s/4 for a shift s, cut at 0 and 1: its spread is 0.37.
    assert found.sd == pytest.approx([64 * 0.37], rel=0.1)
    assert found.values == pytest.approx([32], abs=5)


def test_mirrored_passes_are_averaged_over():
    data = np.zeros((8, 8, 8), dtype=np.float32)
    data[:2] = 1

    def left(batch):
        return batch[:, 0, :4].sum(axis=(1, 2, 3))[:, None]

    assert predict(data, left, spec(mirror=[0])).values == pytest.approx([64])
    assert predict(data, left, spec(mirror=[0])).sd == pytest.approx([np.std([128, 0], ddof=1)])
    assert predict(data, left, spec(mirror=[0, 1])).passes[:, 0] == pytest.approx([128, 0, 128, 0])


def test_shifts_are_in_mm_on_every_grid():
    """A ramp along x rises by the shift: the spread in mm is that of a uniform distribution."""
    shape, size = (24, 8, 8), np.array([1.0, 3.0, 5.0])
    for axis in range(3):
        data = np.moveaxis(np.broadcast_to(np.arange(24.0), (8, 8, 24)), 2, axis).astype(np.float32)
        affine = np.diag([*np.roll(size, axis), 1.0])

        def middle(batch, axis=axis):
            part = np.moveaxis(batch[:, 0], axis + 1, 1)
            return part[:, 12, 3:5, 3:5].mean(axis=(1, 2))[:, None]

        about = spec(np.roll(shape, axis).tolist())
        moved = Variation(count=200, angle=0, size=0, shift=3, seed=1)
        spread = predict(data, middle, about, affine, variation=moved).sd[0] * affine[axis, axis]
        assert spread == pytest.approx(3 / np.sqrt(3), rel=0.1)


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    def corner(batch):
        return batch[:, 0, :4, :4, :4].sum(axis=(1, 2, 3))[:, None]

    one, same, other = (
        predict(image(), corner, spec(), variation=Variation(seed=seed)).values for seed in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_only_the_brains_box_is_seen_where_the_network_looks_at_the_brain():
    data = np.full((20, 20, 20), 5.0, dtype=np.float32)
    brain = np.zeros(data.shape, dtype=bool)
    brain[4:12, 6:14, 2:10] = True
    data[brain] = 1
    found = predict(data, total, spec(brain_only=True, margin=0.0), brain=brain)
    assert found.values == pytest.approx([512])


@pytest.mark.parametrize(
    ("network", "about", "volumes", "says"),
    [
        (lambda b: np.zeros((len(b), 3)), {}, [image()], "numbers of shape .1, 3."),
        (lambda b: np.zeros((len(b), 1, 8, 8, 8)), {}, [image()], "numbers of shape"),
        (lambda b: np.full((len(b), 1), np.nan), {}, [image()], "NaN"),
        (total, {}, [None], "needs T1w"),
        (total, {}, [np.full((8, 8, 8), np.nan, dtype=np.float32)], "NaN"),
        (total, {"kind": "spacing"}, [image()], "grid of kind spacing"),
        (total, {"brain_only": True}, [image()], "no brain mask"),
        (None, {}, [image()], "has no network"),
    ],
)
def test_bad_input_is_named(network, about, volumes, says):
    with pytest.raises(DataError, match=says):
        predict_case(volumes, np.eye(4), None, spec(**about), [network] if network else [], STILL)


def test_a_ct_that_is_not_in_hounsfield_units_is_remarked_on():
    inputs = [{"contrast": "ct", "rule": "window", "region": "image", "windows": [[40.0, 80.0]]}]
    found = predict(image(), total, spec(inputs=inputs))
    assert "Hounsfield" in found.notes[0]


def turned_affine():
    """An oblique grid of slices 3 mm thick."""
    affine = np.eye(4)
    a = np.radians(20)
    affine[:3, :3] = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    affine[:3, :3] *= [1.5, 1.5, 3.0]
    affine[:3, 3] = [-40, 12, 5]
    return affine


def test_the_map_has_its_maximum_where_the_network_looks_on_an_oblique_grid():
    data = np.full((40, 40, 20), 1.0, dtype=np.float32)
    region = (slice(24, 30), slice(8, 14), slice(4, 7))
    data[region] = 3
    # The network looks at the same place on its own grid, whose axes are other ones.
    about = spec((20, 40, 40), orientation="SPL")

    def looks(batch):
        flipped = batch[:, 0, :, ::-1, ::-1]
        return flipped[:, 4:7, 8:14, 24:30].sum(axis=(1, 2, 3))[:, None]

    how = Occlusion(side=9, most=3000)
    found = occlusion_map([data], turned_affine(), None, about, [looks], occlusion=how)
    peak = np.unravel_index(found.change.argmax(), data.shape)
    inside = [part.start <= at < part.stop for part, at in zip(region, peak, strict=True)]
    assert all(inside), peak
    assert found.value == pytest.approx(3 * 6 * 6 * 3)
    far = np.ones(data.shape, dtype=bool)
    far[14:, :24, :14] = False
    assert np.abs(found.change[far]).max() < 1e-4


def test_what_speaks_against_a_class_is_negative():
    data = np.zeros((16, 16, 16), dtype=np.float32)
    data[2:6, 2:6, 2:6], data[10:14, 10:14, 10:14] = 1, 1

    def logits(batch):
        pro = batch[:, 0, 2:6, 2:6, 2:6].mean(axis=(1, 2, 3))
        con = batch[:, 0, 10:14, 10:14, 10:14].mean(axis=(1, 2, 3))
        return np.stack([con, 1.5 * pro], axis=1)

    about = spec((16, 16, 16), labels={0: "no", 1: "yes"})
    found = occlusion_map([data], np.eye(4), None, about, [logits], occlusion=Occlusion(side=4, most=9999))
    assert found.output == 1
    assert found.change[3, 3, 3] > 0.05
    assert found.change[12, 12, 12] < -0.05
    other = occlusion_map([data], np.eye(4), None, about, [logits], 0, Occlusion(side=4, most=9999))
    assert other.change == pytest.approx(-found.change, abs=1e-5)


def test_passes_are_bounded_by_larger_boxes_and_air_costs_none():
    data = np.zeros((32, 32, 32), dtype=np.float32)
    data[:12] = image((12, 32, 32))
    seen = []

    def network(batch):
        seen.append(len(batch))
        return total(batch)

    few = occlusion_map([data], np.eye(4), None, spec((32,) * 3), [network], occlusion=Occlusion(4, 200))
    assert sum(seen) == few.passes <= 200
    assert min(few.box) > 4
    every = len(list(boxes((32,) * 3, [int(side) for side in few.box])))
    assert few.passes < 0.75 * every


def test_changes_in_log_odds_show_what_a_sure_network_looks_at():
    data = np.zeros((16, 16, 16), dtype=np.float32)
    data[2:6, 2:6, 2:6] = 1

    def logits(batch):
        seen = batch[:, 0, 2:6, 2:6, 2:6].mean(axis=(1, 2, 3))
        return np.stack([np.zeros(len(batch)), 8 + 4 * seen], axis=1)

    about = spec((16, 16, 16), labels={0: "no", 1: "yes"})
    for odds, low, high in ((False, 0, 1e-3), (True, 1, 4)):
        how = Occlusion(4, 9999, odds)
        found = occlusion_map([data], np.eye(4), None, about, [logits], occlusion=how)
        peak = np.unravel_index(found.change.argmax(), data.shape)
        assert all(2 <= at < 6 for at in peak)
        assert low < found.change.max() <= high


@pytest.mark.parametrize("shape", [(32, 64, 64), (5, 7, 48), (1, 3, 2)])
def test_boxes_cover_every_voxel_of_any_grid(shape):
    sides, _ = few_boxes(np.ones((1, *shape), dtype=np.float32), (4.5, 3.5, 3.5), Occlusion())
    covered = np.zeros(shape, dtype=int)
    for box in boxes(shape, sides):
        covered[box] += 1
    assert covered.min() >= 1


def test_an_output_that_does_not_exist_cannot_be_explained():
    with pytest.raises(DataError, match="no output 4"):
        occlusion_map([image()], np.eye(4), None, spec(), [total], output=4)
