"""A step that dies of memory is tried again with more, then reported; the others are done."""

import pytest

from tests.conftest import Study
from tests.faults.runs import failures, little, only_whole

# In the place of a step's first lines: what the kernel, or a limit, does to it.
DIES = """
import os, pathlib, resource, signal, sys
tries = pathlib.Path("{folder}") / sys.argv[sys.argv.index("--unit") + 1]
tries.open("a").write("x")
if tries.name == "sub-once" and tries.stat().st_size == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if tries.name == "sub-always":
    import numpy
    resource.setrlimit(resource.RLIMIT_AS, (640 * 2**20, 640 * 2**20))
"""


@pytest.fixture(scope="module")
def ran(finished: Study, tmp_path_factory: pytest.TempPathFactory):
    """A run in which one step is killed once, and one always has too little memory."""
    import shutil

    from tests.conftest import ROOT

    folder = tmp_path_factory.mktemp("memory")
    root = folder / "checkout"
    for name in ("src", "rules", "config", "envs", "scripts"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", root / "Snakefile")
    (folder / "tries").mkdir()
    script = root / "scripts" / "preprocess_session.py"
    first, rest = script.read_text().split("\n", 1)
    script.write_text(first + DIES.replace("{folder}", str(folder / "tries")) + rest)
    study = little(finished, folder / "study", "once", "always", "well", root=root)
    return study, study.call("participant", "--stages", "preprocess", "report"), folder / "tries"


@only_whole
def test_it_is_tried_again_once_with_twice_the_memory(ran):
    study, done, tries = ran
    counts = {path.name: path.stat().st_size for path in tries.iterdir()}
    assert counts == {"sub-once": 2, "sub-always": 2, "sub-well": 1}
    assert (
        "sub-once preprocess is tried again: the step ended without a word (killed, or out of memory?)"
        in done.stdout
    )
    log = next((study.out / "logs").glob("*/snakemake.log")).read_text()
    requests = [line.split("mem_mb=")[1].split(",")[0] for line in log.splitlines() if "mem_mb=" in line]
    assert {"2500", "5000"} <= set(requests)


@only_whole
def test_what_still_dies_is_reported_with_its_reason_and_the_others_are_done(ran):
    study, done, _ = ran
    assert done.returncode == 1, done.stdout + done.stderr
    (row,) = failures(study)
    assert (row["participant_id"], row["step"]) == ("sub-always", "preprocess")
    assert "memory" in row["reason"]
    assert "defect" not in row["reason"]
    for label in ("once", "well"):
        assert (study.work / "steps" / f"sub-{label}" / "preprocess.json").is_file()
        assert (study.out / f"sub-{label}.html").is_file()
    assert "memory" in (study.out / "sub-always.html").read_text()
