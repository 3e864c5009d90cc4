"""The demonstration: a cohort with known truth, the whole workflow on it, and a comparison."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from voxelome.app.progress import duration
from voxelome.app.recovery import Cohort, Recovery, recover, save_recovery
from voxelome.errors import ExitCode, InputError
from voxelome.imageio import load_json, save_json, save_text

STUDY = """\
# What `voxelome-tools demo` asks of the group level.
analyses:
  - name: mutation
    outcome: mutation
"""


def run_demo(
    folder: Path,
    cohort_settings: dict[str, int],
    nprocs: int,
    console: Console,
    run: Callable[[list[str]], int],
) -> int:
    """Make the cohort in `folder`, run both levels on it, print what was planted and measured.

    `run` is voxelome's command line. Returns 0 when everything was recovered, 1 when a bar was missed,
    else what the run returned.
    """
    begun = time.monotonic()
    cohort = Cohort(folder / "bids", folder / "out", folder / "out" / ".voxelome")
    _make(cohort.bids_dir, cohort_settings, nprocs, console)
    save_text(folder / "study.yaml", STUDY)
    for arguments in both_levels(folder):
        code = run([*arguments, "--nprocs", str(nprocs)])
        if code != ExitCode.DONE:
            return code
    rows = recover(cohort)
    save_recovery(folder / "recovery.tsv", rows)
    console.print(_table(rows))
    console.print(f"the same as a table: {folder / 'recovery.tsv'}", markup=False, soft_wrap=True)
    console.print(f"open in a browser:   {cohort.out_dir / 'group.html'}", markup=False, soft_wrap=True)
    console.print(f"the demonstration took {duration(time.monotonic() - begun)}")
    return ExitCode.DONE if all(row.reached for row in rows) else ExitCode.SOME_FAILED


def both_levels(folder: Path) -> list[list[str]]:
    """Arguments of voxelome for the two levels, as the tutorial has them."""
    bids = folder / "bids"
    shared = ["--config-file", f"{folder / 'study.yaml'}"]
    shared += ["--derivatives", f"masks={bids / 'derivatives' / 'masks'}"]
    return [[str(bids), str(folder / "out"), level, *shared] for level in ("participant", "group")]


def _make(bids_dir: Path, settings: dict[str, Any], nprocs: int, console: Console) -> None:
    """Make the cohort unless it is there as asked for."""
    from voxelome.phantom.cohort import make_cohort

    note = bids_dir.parent / "cohort.json"
    if note.is_file() and load_json(note) == settings:
        console.print(f"the cohort is there already: {bids_dir}", markup=False, soft_wrap=True)
        return
    if bids_dir.exists():
        if not note.is_file():
            raise InputError(
                bids_dir, "holds something that the demonstration did not make", "give another folder"
            )
        shutil.rmtree(bids_dir)
    begun = time.monotonic()
    console.print(f"making {settings['participants']} participants at {settings['sites']} sites ...")
    save_json(note, {})
    make_cohort(bids_dir, **settings, jobs=nprocs)
    save_json(note, settings)
    console.print(f"made in {duration(time.monotonic() - begun)}: {bids_dir}", markup=False, soft_wrap=True)


def _table(rows: list[Recovery]) -> Table:
    table = Table(title="What was planted and what was measured", title_justify="left", box=SIMPLE_HEAD)
    for column in ("stage", "quantity", "planted", "measured", "should be", ""):
        table.add_column(column, overflow="fold")
    for row in rows:
        verdict = "" if not row.bar else "[green]yes[/]" if row.reached else "[bold red]NO[/]"
        table.add_row(row.stage, row.quantity, row.planted, row.measured, row.bar, verdict)
    return table
