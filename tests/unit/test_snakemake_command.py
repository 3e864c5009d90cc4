"""What voxelome tells Snakemake, as Snakemake itself understands it."""

from argparse import Namespace
from pathlib import Path

import pytest
from snakemake.cli import parse_args

from tests.conftest import ROOT
from voxelome.app.deployment import executor, find_profile, memory_limit, retries
from voxelome.app.snakemake import RunSettings, snakemake_command

PROFILES = ROOT / "config" / "profiles"


def understood(tmp_path: Path, profile: Path | None, **more) -> Namespace:
    names = ("configfile", "work_dir", "events", "log")
    paths = {name: tmp_path / name for name in names}
    settings = RunSettings(**paths, cores=2, profile=profile, retries=retries(profile), **more)
    return parse_args(snakemake_command(settings, ["participant"])[3:])[1]


@pytest.mark.parametrize("name", [None, "local", "apptainer"])
@pytest.mark.parametrize("keep_going", [True, False])
def test_a_run_stops_at_the_first_crash_if_it_was_told_to_with_any_profile(
    tmp_path: Path, name: str | None, keep_going: bool
):
    profile = find_profile(Path(name)) if name else None
    assert understood(tmp_path, profile, keep_going=keep_going).keep_going is keep_going


@pytest.mark.parametrize(("name", "expected"), [(None, 1), ("local", 1), ("apptainer", 1)])
def test_a_step_that_failed_is_tried_again_on_this_machine_with_a_profile_too(
    tmp_path: Path, name: str | None, expected: int
):
    assert understood(tmp_path, find_profile(Path(name)) if name else None).retries == expected


@pytest.mark.parametrize(("line", "expected"), [("retries: 3", 3), ("restart-times: 0", 0), ("cores: 1", 1)])
def test_how_often_is_what_the_profile_says(tmp_path: Path, line: str, expected: int):
    (tmp_path / "config.yaml").write_text(f"{line}\n")
    assert retries(tmp_path) == expected
    assert understood(tmp_path, tmp_path).retries == expected


def test_the_profiles_of_clusters_try_twice_more():
    assert {retries(PROFILES / name) for name in ("slurm", "slurm-apptainer", "lsf", "sge")} == {2}


def test_what_takes_the_jobs_is_read_from_the_profile_and_the_command_line():
    assert executor(None, []) == executor(PROFILES / "apptainer", ["--notemp"]) == "local"
    assert executor(PROFILES / "lsf", []) == "lsf"
    assert executor(None, ["--executor=slurm"]) == executor(None, ["-e", "slurm"]) == "slurm"
    assert executor(PROFILES / "slurm", ["--executor", "local"]) == "local"


def test_on_this_machine_memory_is_limited_with_a_profile_too(tmp_path: Path):
    for profile in (None, PROFILES / "apptainer", PROFILES / "local"):
        assert memory_limit(None, profile, []) > 0
        assert memory_limit(5, profile, []) == 5
    assert memory_limit(None, PROFILES / "slurm", []) is None
    (tmp_path / "config.yaml").write_text("resources: {mem_mb: 4000}\n")
    assert memory_limit(None, tmp_path, []) is None
