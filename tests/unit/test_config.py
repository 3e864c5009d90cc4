"""The configuration: merged section by section, and refused when a name is misspelt."""

from pathlib import Path

import pytest
import yaml

from voxelome.app.config import check_config, default_config, merge, save_config
from voxelome.errors import InputError


def settings(**changes):
    return merge(default_config(), {"bids_dir": "in", "out_dir": "out"}, changes)


def test_the_defaults_are_valid():
    check_config(settings(), "defaults")


def test_a_misspelt_setting_is_refused_with_the_nearest_that_exists():
    with pytest.raises(InputError, match=r"no setting 'qsm.inversoin'.*inversion"):
        check_config(settings(qsm={"inversoin": "tv"}), "study.yaml")


def test_a_misspelt_section_is_refused():
    with pytest.raises(InputError, match=r"no setting 'radiomic'.*radiomics"):
        check_config(settings(radiomic={}), "study.yaml")


def test_a_value_that_is_not_offered_is_refused_with_its_name():
    with pytest.raises(InputError, match=r"qsm\.inversion"):
        check_config(settings(qsm={"inversion": "magic"}), "study.yaml")


def test_a_misspelt_setting_of_an_analysis_is_refused():
    analysis = {"name": "a", "outcome": "b", "outer_fold": 3}
    with pytest.raises(InputError, match=r"outer_fold.*outer_folds"):
        check_config(settings(analyses=[analysis]), "study.yaml")


def test_two_analyses_cannot_share_a_name():
    twice = [{"name": "a", "outcome": "b"}, {"name": "a", "outcome": "c"}]
    with pytest.raises(InputError, match="one name"):
        check_config(settings(analyses=twice), "study.yaml")


def test_a_file_changes_only_what_it_names():
    merged = settings(radiomics={"bin_count": 64})
    assert merged["radiomics"] == {**settings()["radiomics"], "bin_count": 64}


def test_merging_leaves_its_arguments_as_they_were():
    base = {"a": {"b": 1}}
    merge(base, {"a": {"b": 2}})
    assert base == {"a": {"b": 1}}


def test_an_unchanged_configuration_keeps_its_file(tmp_path: Path):
    path = save_config(tmp_path / "config.yaml", settings())
    before = path.stat().st_mtime_ns
    save_config(path, settings())
    assert path.stat().st_mtime_ns == before
    assert yaml.safe_load(path.read_text()) == settings()
