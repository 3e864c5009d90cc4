"""Boutiques accepts the descriptor, and makes command lines of it that voxelome takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from voxelome.app.arguments import build_parser, parse
from voxelome.tools import main


@pytest.fixture
def file(tmp_path, capsys):
    assert main(["boutiques"]) == 0
    path = tmp_path / "voxelome.json"
    path.write_text(capsys.readouterr().out)
    return path


def bosh(*words):
    command = [Path(sys.executable).with_name("bosh"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_its_validator_accepts_it(file):
    done = bosh("validate", "--bids", file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_has_every_argument(file):
    ids = {item["id"] for item in json.loads(file.read_text())["inputs"]}
    assert ids == {action.dest for action in build_parser()._actions} - {"help", "version"} | {
        "out_dir_there"
    }


def test_the_command_that_boutiques_makes_is_one_that_voxelome_takes(file, tmp_path):
    (tmp_path / "bids").mkdir()
    call = {
        "bids_dir": str(tmp_path / "bids"), "out_dir": "/out", "level": "participant", "nprocs": 4,
        "participant_label": ["01", "02"], "derivatives": ["masks=/masks"], "dry_run": True,
    }  # fmt: skip
    (tmp_path / "call.json").write_text(json.dumps(call))
    done = bosh("exec", "simulate", file, "-i", tmp_path / "call.json")
    (line,) = [line for line in done.stdout.splitlines() if "voxelome" in line and "/out" in line]
    options, _ = parse(line[line.index("voxelome ") :].split()[1:])
    assert (options.nprocs, options.participant_label, options.dry_run) == (4, ["01", "02"], True)
    assert (options.level, options.derivatives) == ("participant", ["masks=/masks"])
