"""The digest of a step's code changes when what it computes may change, and only then."""

import json
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


# As if there were nothing to parse with.
BLIND = "import voxelome.parsed; voxelome.parsed.ast = None"


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code whose digests have been asked for once."""
    folder = tmp_path_factory.mktemp("parsed")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "envs", folder / "envs")
    digests(folder)
    return folder


@pytest.fixture
def copy(parsed: Path, tmp_path: Path) -> Path:
    shutil.copytree(parsed, tmp_path, dirs_exist_ok=True)
    return tmp_path


def ask(root: Path, code: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(root / "src"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def digests(root: Path, code: str = DIGESTS) -> dict[str, str]:
    done = ask(root, code)
    assert done.returncode == 0, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


def kept(root: Path) -> Path:
    return root / "src" / "voxelome" / "__pycache__" / "parsed.json"


def test_what_was_parsed_once_is_not_parsed_again(copy: Path):
    before = digests(copy)
    assert digests(copy, BLIND + DIGESTS) == before
    edit(copy / "src" / "voxelome" / "qsm" / "dipole.py", '"""', '"""Another word. ')
    assert "has no attribute 'parse'" in ask(copy, BLIND + DIGESTS).stderr
    assert digests(copy) == before
    assert digests(copy, BLIND + DIGESTS) == before


@pytest.mark.parametrize("damage", ["", "{", '{"by": "other code", "files": {}}'])
def test_what_was_kept_and_cannot_be_used_is_made_anew(copy: Path, damage: str):
    before = digests(copy)
    whole = json.loads(kept(copy).read_text())
    kept(copy).write_text(damage)
    assert digests(copy) == before
    assert json.loads(kept(copy).read_text()) == whole


def test_digests_are_the_same_where_nothing_can_be_kept(copy: Path):
    before = digests(copy)
    kept(copy).unlink()
    kept(copy).mkdir()
    assert digests(copy) == before


def test_nothing_is_kept_where_python_may_not_keep_what_it_compiles(copy: Path):
    kept(copy).unlink()
    digests(copy, f"import sys; sys.dont_write_bytecode = True{DIGESTS}")
    assert not kept(copy).exists()


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
