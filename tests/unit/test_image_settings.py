"""Features say how their images were made: what changes their values, and nothing else."""

import pytest
import yaml

from voxelome.anat.landmarks import StandardScale, save_scale
from voxelome.app.arguments import check_folders, parse
from voxelome.app.config import default_config, merge
from voxelome.app.standing import settings_digest
from voxelome.app.study import open_study
from voxelome.bids.image_settings import (
    MADE,
    NETWORKS,
    RECONSTRUCTED,
    image_settings,
    settings_behind,
    taught_by,
)
from voxelome.bids.mounts import mounts
from voxelome.columns import HISTOGRAMS, OF_NETWORK, RADIOMICS
from voxelome.errors import InputError
from voxelome.imageio import save_json
from voxelome.interfaces.qsm import UNITS

SCALE = StandardScale({"T1w": tuple(range(11))}, ("sub-1", "sub-2"), "healthy")


def changed(**register):
    return image_settings(merge(default_config(), {"register": register}))


def test_what_changes_values_is_told_and_where_results_are_shown_is_not():
    assert changed(normalisation="percentile") != changed()
    assert changed(transform="affine") != changed()
    assert changed(output_spaces=[]) == changed()
    assert changed(lesion_masks=["*other*"]) == changed()


def test_every_map_of_susceptibility_is_known_as_one():
    for suffix in set(UNITS) - {"fieldmap"}:
        made_with = {RECONSTRUCTED: {"inversion": "tv"}}
        assert settings_behind(made_with, [f"acq-a_{suffix}__brain__firstorder__Mean"]) == made_with


def test_a_scale_is_known_by_its_content_wherever_it_lies(tmp_path):
    one, two, three = (tmp_path / name / "scale.json" for name in ("a", "b", "c"))
    other = StandardScale({"T1w": tuple(range(1, 12))}, SCALE.participants, SCALE.dataset)
    for path, scale in ((one, SCALE), (two, SCALE), (three, other)):
        save_scale(path, scale)
    first, second, third = (changed(normalisation="nyul", landmarks=str(path)) for path in (one, two, three))
    assert first == second
    assert first != third


def test_who_taught_the_scale_is_told_of_their_own_dataset_alone(tmp_path):
    path = save_scale(tmp_path / "scale.json", SCALE)
    config = merge(default_config(), {"register": {"landmarks": str(path)}})
    assert taught_by(config, "healthy") == ["sub-1", "sub-2"]
    assert taught_by(config, "patients") == []
    assert taught_by(default_config(), "healthy") == []


def test_settings_of_what_no_feature_is_of_do_not_matter():
    settings = {
        RADIOMICS: {"bin_count": 32, "regions": [{"name": "ring"}]},
        HISTOGRAMS: {"reference": "n/a"},
        OF_NETWORK.format("t1age"): {"members": 1},
        OF_NETWORK.format("t1age2"): {"members": 1},
        RECONSTRUCTED: {"inversion": "tv", "phase_sign": "negative"},
    }
    behind = settings_behind(settings, ["T1w__brain__original__glcm__Contrast", "age"])
    assert behind == {RADIOMICS: {"bin_count": 32}}
    assert HISTOGRAMS in settings_behind(settings, ["T1w__brain__original__relativehistogram__Peak"])
    case = settings_behind(settings, ["T1w__head__original__network__t1age_age_sd"])
    assert set(case) == {RADIOMICS, OF_NETWORK.format("t1age")}
    # A scanner whose phase has the other sign gives the same maps.
    chi = settings_behind(settings, ["Chimap__brain__original__firstorder__Mean"])
    assert chi[RECONSTRUCTED] == {"inversion": "tv"}


MADE_OF_OTHERS = {
    "segment": {"fusions": [{"name": "consensus", "of": ["rater", "synlesion"], "method": "staple"}]},
    "radiomics": {
        "regions": [
            {"name": "whole", "union": ["tumor-*", "meshnet18-thalamus"]},
            {"name": "ring", "shell": "whole", "mm": 5},
            {"name": "halo", "shell": "consensus", "mm": 5},
        ]
    },
}


@pytest.mark.parametrize(
    ("region", "made", "networks"),
    [
        ("brain", [], []),
        ("tumor-core", [], []),
        ("meshnet18-thalamus", [], ["meshnet18"]),
        ("synlesion", [], ["synlesion"]),
        ("synlesion2", [], []),
        ("whole", ["whole"], ["meshnet18"]),
        ("ring", ["whole", "ring"], ["meshnet18"]),
        ("consensus", ["consensus"], ["synlesion"]),
        ("halo", ["consensus", "halo"], ["synlesion"]),
    ],
)
def test_a_feature_depends_on_the_networks_and_recipes_that_its_region_comes_from(region, made, networks):
    settings = image_settings(merge(default_config(), MADE_OF_OTHERS))
    settings[NETWORKS] = {"synlesion": ["a1"], "meshnet18": ["b2"]}
    behind = settings_behind(settings, [f"T1w__{region}__original__glcm__Contrast"])
    assert list(behind[MADE]) == made
    assert sorted(behind[NETWORKS]) == networks
    assert all(behind[MADE][name] == settings[MADE][name] for name in made)


@pytest.fixture
def study(tmp_path):
    """Open a study with these settings of register; paths are relative to the settings."""
    save_json(tmp_path / "raw" / "dataset_description.json", {"Name": "x", "BIDSVersion": "1.10.0"})
    (tmp_path / "raw" / "sub-1" / "anat").mkdir(parents=True)

    def open_with(**register):
        path = tmp_path / "study" / "study.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump({"stages": ["preprocess"], "register": register}))
        words = [tmp_path / "raw", tmp_path / "out", "participant", "--config-file", path]
        options, _ = parse([str(word) for word in words])
        check_folders(options)
        return open_study(options)

    return open_with


@pytest.mark.parametrize(
    ("register", "says"),
    [
        ({"normalisation": "nyul"}, "nyul needs landmarks"),
        ({"normalisation": "nyul", "landmarks": "none.json"}, "none.json: there is no such file"),
        ({"landmarks": "scale.json"}, "are not used by the normalisation zscore"),
    ],
)
def test_a_scale_that_lacks_or_is_not_used_is_refused_before_anything_runs(study, register, says, tmp_path):
    (tmp_path / "study").mkdir()
    save_scale(tmp_path / "study" / "scale.json", SCALE)
    with pytest.raises(InputError, match=says):
        study(**register)


def test_another_scale_makes_everybody_anew_and_images_of_steps_can_read_it(study, tmp_path):
    path = save_scale(tmp_path / "elsewhere" / "scale.json", SCALE)
    register = {"normalisation": "nyul", "landmarks": "../elsewhere/scale.json"}
    opened = study(**register)
    assert opened.config["register"]["landmarks"] == str(path)
    assert any(path.is_relative_to(mount.path) for mount in mounts(opened.config, opened.plan))
    before = settings_digest(opened)
    assert settings_digest(study(**register)) == before
    save_scale(path, StandardScale({"T1w": tuple(range(1, 12))}, ("sub-3",), "healthy"))
    assert settings_digest(study(**register)) != before
