"""Results of another output folder, taken over where they would come out the same.

Nothing is decided here. Records, their files and what Snakemake noted of them are put where this run would
have put them; Snakemake then compares parameters, which hold the digests of the data, of the code and of
the settings, and runs again what differs.
"""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxelome.app.study import Study
from voxelome.bids.targets import STAGES, segmentations, subject_records, wanted_stages
from voxelome.errors import InputError
from voxelome.imageio import load_json, load_yaml, replacing, save_json, sidecar_path
from voxelome.step import StepRecord, note_made

METADATA = ".snakemake/metadata"


@dataclass(frozen=True)
class _Source:
    """Folders of the run whose results are taken."""

    out_dir: Path
    work_dir: Path


def take_over(study: Study, folder: Path) -> int:
    """Link the results of another output folder into this run's; return how many steps were taken over.

    Files are hard links, as no step writes into a file that is there; where the folders lie on different
    file systems they are copies. What this run has a record of stays as it is. Reports are written anew.

    Parameters
    ----------
    study : Study
        This run.
    folder : path
        OUT_DIR of the other run, or its work folder.

    Raises
    ------
    InputError
        There is no run of voxelome in that folder, or it is this run's.
    """
    source = _find_source(study, folder)
    count = 0
    stages = _stages(study.config)
    for label in study.subjects:
        paths = [Path(name) for name in subject_records(study.visits(label), stages)]
        own = [study.work_dir / path for path in paths if (study.work_dir / path).is_file()]
        claimed = {item["path"] for record in own for item in StepRecord.load(record).outputs}
        there = [path for path in paths if (source.work_dir / path).is_file()]
        # In the order in which they were made: a step's record is younger than those that it read.
        for path in sorted(there, key=lambda path: (source.work_dir / path).stat().st_mtime_ns):
            count += _take_record(study, source, path, claimed)
    return count


def _stages(config: Mapping[str, Any]) -> list[str]:
    """Stages of a study, asked for or not: those that are asked for rest on others."""
    return list(dict.fromkeys([*STAGES, *wanted_stages(config), *segmentations(config)]))


def _find_source(study: Study, folder: Path) -> _Source:
    found = [path for path in (folder / ".voxelome", folder) if (path / "config.yaml").is_file()]
    if not found:
        raise InputError(folder, "holds no results of voxelome", "give the OUT_DIR of an earlier run")
    work_dir = found[0].resolve()
    if work_dir == study.work_dir:
        raise InputError(folder, "is this run's own folder", "give the OUT_DIR of another run")
    config = load_yaml(work_dir / "config.yaml")
    if Path(config["work_dir"]) != work_dir:
        raise InputError(folder, "was moved since its run", "run voxelome there once, or move it back")
    return _Source(Path(config["out_dir"]), work_dir)


def _take_record(study: Study, source: _Source, path: Path, claimed: Collection[str]) -> bool:
    """Take over one step, if it is whole; return whether it was taken."""
    note = Path(METADATA, base64.urlsafe_b64encode(str(path).encode()).decode())
    target = study.work_dir / path
    if target.exists() or not (source.work_dir / note).is_file():
        return False
    noted = load_json(source.work_dir / note)
    record = StepRecord.load(source.work_dir / path)
    files = [Path(output["path"]) for output in record.outputs]
    moved = [_moved(file, study, source) for file in files]
    if noted.get("incomplete") or None in moved or not all(file.is_file() for file in files):
        return False
    pairs = [(old, new) for old, new in zip(files, moved, strict=True) if new is not None]
    for output, (_, new) in zip(record.outputs, pairs, strict=True):
        output["path"] = str(new)
    free = [(old, new) for old, new in pairs if str(new) not in claimed]
    _link([*free, *((sidecar_path(old), sidecar_path(new)) for old, new in free)])
    noted["params"] = [_renamed(text, study, source) for text in noted["params"]]
    (study.work_dir / note).parent.mkdir(parents=True, exist_ok=True)
    save_json(study.work_dir / note, noted)
    target.parent.mkdir(parents=True, exist_ok=True)
    record.save(target)
    note_made(target, record)
    status = (source.work_dir / path).stat()
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    return True


def _moved(file: Path, study: Study, source: _Source) -> Path | None:
    """Where this run would have put a file of the other; None for a file that lies in neither folder."""
    for old, new in ((source.work_dir, study.work_dir), (source.out_dir, study.out_dir)):
        if file.is_relative_to(old):
            return new / file.relative_to(old)
    return None


def _renamed(text: str, study: Study, source: _Source) -> str:
    """Parameter as Snakemake notes it, with this run's output folder in place of the other's."""
    old, new = (repr(str(item.out_dir))[:-1] for item in (source, study))
    return text.replace(f"{old}/", f"{new}/").replace(f"{old}{old[0]}", f"{new}{new[0]}")


def _link(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Put files in the place of those that are there: no record of this run tells of them any more."""
    for old, new in pairs:
        if not old.is_file() or (new.exists() and new.samefile(old)):
            continue
        with replacing(new) as temporary:
            try:
                temporary.hardlink_to(old)
            except OSError:
                shutil.copy2(old, temporary)
