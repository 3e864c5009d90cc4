"""Which long tests are to be called again."""

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.containers import passed


@pytest.mark.parametrize("name", passed.TESTED)
def test_all_that_a_long_test_is_of_is_there(name: str):
    assert [part for part in passed.TESTED[name] if not (ROOT / part).exists()] == []


@pytest.mark.parametrize("name", passed.TESTED)
def test_the_makefile_has_a_long_test_record_what_it_passed_with(name: str):
    assert f"\ntest-{name}: " in (text := (ROOT / "Makefile").read_text())
    assert f"VOXELOME_RECORD_AS={name} " in text
    assert f" {name}" in (ROOT / ".ci" / "run").read_text()


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two inputs of one test, and a record of another."""
    (tmp_path / "rules").mkdir()
    for name in ("Snakefile", "rules/qsm.smk"):
        (tmp_path / name).write_text("rule all:\n")
    monkeypatch.setattr(passed, "ROOT", tmp_path)
    monkeypatch.setattr(passed, "RECORD", tmp_path / "passed.yaml")
    monkeypatch.setattr(passed, "TESTED", {"slurm": ("Snakefile", "rules"), "lsf": ("rules",)})
    monkeypatch.setattr("sys.argv", ["passed", "slurm"])
    return tmp_path


def test_a_test_is_called_until_it_has_passed_and_when_an_input_changed(copy: Path):
    assert passed.main() == 1
    passed.record("lsf")
    assert passed.main() == 1
    passed.record("slurm")
    assert passed.main() == 0
    (copy / "rules" / "qsm.smk").write_text("rule one:\n")
    assert passed.main() == 1


@pytest.mark.parametrize("change", ["rename", "add", "move"])
def test_names_of_files_count_and_what_python_compiled_does_not(copy: Path, change: str):
    passed.record("slurm")
    (copy / "rules" / "__pycache__").mkdir()
    (copy / "rules" / "__pycache__" / "a.pyc").touch()
    assert passed.main() == 0
    if change == "add":
        (copy / "rules" / "new.smk").touch()
    else:
        name = "rules/other.smk" if change == "rename" else "Snakefile"
        (copy / "rules" / "qsm.smk").rename(copy / name)
    assert passed.main() == 1
