"""The digest of a step's code changes when what it computes may change, and only then."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from voxelome.provenance import sessions_digest

ROOT = Path(__file__).resolve().parents[2]
DIGESTS = """
from voxelome.provenance import code_digest
for stage in ("preprocess", "register", "qsm", "segment", "radiomics", "model", "report"):
    print(stage, code_digest(f"voxelome.interfaces.{stage}", stage))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "envs", tmp_path / "envs")
    return tmp_path


def digests(root: Path) -> dict[str, str]:
    environment = {"PYTHONPATH": str(root / "src"), "PATH": "/usr/bin:/bin"}
    printed = subprocess.run(
        [sys.executable, "-c", DIGESTS], env=environment, capture_output=True, text=True, check=True
    ).stdout
    return dict(line.split() for line in printed.splitlines())


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_comments_docstrings_and_layout_do_not_count(copy: Path):
    before = digests(copy)
    path = copy / "src" / "voxelome" / "qsm" / "dipole.py"
    edit(path, '"""', '"""Another word. ')
    path.write_text(path.read_text() + "\n\n# a comment at the end\n")
    assert digests(copy) == before


def test_an_edit_of_the_qsm_numerics_changes_qsm_alone(copy: Path):
    before = digests(copy)
    path = copy / "src" / "voxelome" / "qsm" / "dipole.py"
    path.write_text(path.read_text() + "\n\nEDITED = 1\n")
    after = digests(copy)
    assert [stage for stage in before if before[stage] != after[stage]] == ["qsm"]


def test_a_helper_that_all_steps_use_changes_all(copy: Path):
    before = digests(copy)
    path = copy / "src" / "voxelome" / "imageio.py"
    path.write_text(path.read_text() + "\n\nEDITED = 1\n")
    after = digests(copy)
    assert all(before[stage] != after[stage] for stage in before)


def test_a_pin_changes_the_stages_that_have_it(copy: Path):
    before = digests(copy)
    path = copy / "envs" / "radiomics.txt"
    path.write_text(path.read_text() + "another-package==1.0\n")
    after = digests(copy)
    assert [stage for stage in before if before[stage] != after[stage]] == ["radiomics"]


def test_a_comment_among_the_pins_does_not_count(copy: Path):
    before = digests(copy)
    path = copy / "envs" / "qsm.txt"
    path.write_text("# another comment\n" + path.read_text())
    assert digests(copy) == before


def test_the_digest_of_sessions_changes_with_their_content_and_not_with_their_times(tmp_path: Path) -> None:
    assert sessions_digest(tmp_path) == ""
    path = tmp_path / "sub-01" / "sub-01_sessions.tsv"
    path.parent.mkdir()
    path.write_text("session_id\tage\nses-1\t60\n")
    first = sessions_digest(tmp_path)
    path.touch()
    assert sessions_digest(tmp_path) == first
    path.write_text("session_id\tage\nses-1\t61\n")
    assert sessions_digest(tmp_path) != first
