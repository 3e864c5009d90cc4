"""Synthetic images: tissues of label maps, lesions of a known size in their place, and the same by a seed."""

import numpy as np
import pytest

from voxelome.errors import DataError, InputError
from voxelome.training.anatomy import MAPS, anatomy_from_labels
from voxelome.training.fields import Dice
from voxelome.training.label_maps import load_anatomy, tissue_of, tissues_of_freesurfer, tissues_of_names
from voxelome.training.lesions import Mass, plant
from voxelome.training.resolution import coarser
from voxelome.training.synthesis import Synthetic, synthesise

from .toys import GRAY, NAMES, VENTRICLE, label_map, save_label_map

torch = pytest.importorskip("torch", reason="training needs torch, which is in an environment of its own")


@pytest.fixture(scope="module")
def head():
    labels, affine = label_map()
    return anatomy_from_labels(labels, affine, tissues_of_names(NAMES), "toy")


def maps_of(head):
    return {name: head.maps[index].astype(np.float32) for index, name in enumerate(MAPS)}


def ball(radius):
    return 4 / 3 * np.pi * radius**3


def test_a_label_map_becomes_fractions_that_add_up_with_the_volumes_of_its_labels(head):
    maps = maps_of(head)
    brain = maps["depth"] > 0
    total = maps["gm"] + maps["wm"] + maps["csf"]
    assert total[brain] == pytest.approx(np.ones(brain.sum()), abs=2e-3)
    assert total[~brain].max() == 0
    labels, _ = label_map()
    ventricle, white, gray, deep = (8 * (labels == label).sum() for label in (1, 2, 3, 4))
    assert maps["ventricle"].sum() == pytest.approx(ventricle, rel=0.02)
    assert maps["wm"].sum() == pytest.approx(white, rel=0.02)
    assert maps["deep"].sum() == pytest.approx(deep, rel=0.02)
    assert maps["gm"].sum() == pytest.approx(gray + deep, rel=0.02)


def test_distances_of_a_label_map_are_those_of_its_spheres(head):
    maps = maps_of(head)
    middle = tuple(size // 2 for size in head.maps.shape[1:])
    along = (slice(middle[0], None), *middle[1:])
    steps = np.arange(len(maps["depth"][along]))
    assert np.abs(maps["to_ventricle"][along] - (steps - VENTRICLE)).max() < 2.5
    # The surface of the brain lies 1 mm outside of the labels: fluid.
    assert np.abs(maps["depth"][along] - (GRAY + 1 - steps)).max() < 2.5


@pytest.mark.parametrize(
    ("name", "tissue"),
    [
        ("Left-Cerebral-White-Matter", "wm"),
        ("Right-Inf-Lat-Vent", "ventricle"),
        ("3rd-Ventricle", "ventricle"),
        ("ctx-lh-parsorbitalis", "gm"),
        ("ctx_rh_G_cuneus", "gm"),
        ("Lateral_Vent_L", "ventricle"),
        ("Cerebellum-Cortex", "gm"),
        ("VentralDC", "gm"),
        ("Brain-Stem", "wm"),
        ("CC_Mid_Anterior", "wm"),
        ("Accumbens-area", "deep"),
        ("right thalamus", "deep"),
        ("CSF", "csf"),
        ("Skull", None),
    ],
)
def test_names_of_freesurfer_synthseg_and_meshnet_say_the_tissue(name, tissue):
    assert tissue_of(name) == tissue


def test_freesurfers_numbers_need_no_table_and_other_numbers_do():
    found = tissues_of_freesurfer([2, 41, 3, 4, 10, 1002, 30])
    assert found == {2: "wm", 41: "wm", 3: "gm", 4: "ventricle", 10: "deep", 1002: "gm"}
    with pytest.raises(DataError, match="not FreeSurfer's"):
        tissues_of_freesurfer([1, 2, 3])
    with pytest.raises(DataError, match="label 99"):
        tissues_of_freesurfer([2, 41, 99])


def test_a_label_map_is_read_with_its_table_and_refused_without_sense(tmp_path, head):
    assert (load_anatomy(save_label_map(tmp_path)).maps == head.maps).all()
    with pytest.raises(InputError, match="'Blob' names no tissue"):
        load_anatomy(save_label_map(tmp_path, {**NAMES, 4: "Blob"}))
    with pytest.raises(InputError, match="no label of ventricles"):
        load_anatomy(save_label_map(tmp_path, {**NAMES, 1: "CSF"}))


@pytest.fixture(scope="module")
def tissue(head):
    return {name: torch.from_numpy(part) for name, part in maps_of(head).items()}


def planted(tissue, radius, seed):
    """Fractions of a tumour in the white matter, oedema included."""
    made = plant("glioma", tissue, Mass(torch.tensor([0.0, 15.0, 0.0]), radius, 0.0), Dice(seed))
    return made.bright + made.core + made.enhancing


def test_planted_tumours_have_the_size_asked_and_lie_inside_the_brain(tissue):
    small, large = ([planted(tissue, radius, seed) for seed in range(8)] for radius in (5.0, 9.0))
    for radius, made in ((5.0, small), (9.0, large)):
        for lesion in made:
            # One to three lobes with radii of 0.35 to 1.3 times that asked for, and oedema around.
            assert 0.3 * ball(radius) < float(lesion.sum()) < 8 * ball(radius)
            assert float(lesion[tissue["depth"] < -1].sum()) == 0
            assert float(lesion.max()) <= 1 + 1e-5
    grown = np.mean([float(b.sum() / a.sum()) for a, b in zip(small, large, strict=True)])
    assert grown == pytest.approx((9 / 5) ** 3, rel=0.35)


@pytest.mark.parametrize("kind", ["demyelination", "small vessels", "infarct", "metastases"])
def test_other_lesions_lie_in_tissue(tissue, kind):
    made = plant(kind, tissue, None, Dice(3))
    lesion = made.bright + made.core + made.enhancing
    assert float(lesion.sum()) > 0
    assert float(made.bright[tissue["csf"] > 0.95].sum()) < 1e-3 * float(lesion.sum())
    assert float(lesion[tissue["depth"] < -1].sum()) == 0


def test_the_same_seed_gives_the_same_image_and_another_seed_another(head):
    maps = torch.from_numpy(head.maps)
    first, again, other = (synthesise(maps, (32, 32, 32), Dice(seed)) for seed in (5, 5, 6))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.regions, again.regions)
    assert not torch.equal(first.image, other.image)


def test_only_the_contrasts_asked_for_are_shown_and_the_lesion_is_the_same(head):
    maps = torch.from_numpy(head.maps)
    every, flair = (
        synthesise(maps, (40, 40, 40), Dice(11), shown, fixed=True) for shown in ((0, 1, 2, 3), (0,))
    )
    assert [bool(part.any()) for part in every.image] == [True] * 4
    assert [bool(part.any()) for part in flair.image] == [True, False, False, False]
    assert torch.equal(every.regions[0], flair.regions[0])
    for seed in range(6):
        shown = synthesise(maps, (16, 16, 16), Dice(seed), (2, 3)).image
        assert not shown[:2].any()


def test_coarser_voxels_keep_volumes_and_brightness():
    image, regions = torch.zeros(1, 48, 48, 48), torch.zeros(1, 48, 48, 48, dtype=torch.bool)
    image[:, 8:40, 8:40, 8:40] = 1.0
    regions[:, 16:32, 16:32, 16:32] = True
    small, share = coarser(image, regions, 2.0)
    assert small.shape == (1, 24, 24, 24)
    assert int(share.sum()) * 8 == pytest.approx(16**3, rel=0.15)
    assert float(small[0, 12, 12, 12]) == pytest.approx(1.0, abs=1e-4)
    assert float(small.sum()) * 8 == pytest.approx(32**3, rel=0.1)


def test_a_source_gives_the_channels_and_the_spacing_asked_for(head, tmp_path):
    head.save(tmp_path / "head.npz")
    source = Synthetic((tmp_path / "head.npz",), (16, 16, 16), 2.0, channels=(3, 0), regions=1)
    image, regions = source.open("cpu")(4)
    assert image.shape == (2, 16, 16, 16)
    assert regions.shape == (1, 16, 16, 16)
    again = source.cases("cpu")(4, (0,))[0]
    assert not again[0].any()
    assert again[1].any()
