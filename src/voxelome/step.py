"""What every step shares: its record, and the command line made out of its specification."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxelome.errors import ExitCode, InputError, exit_code
from voxelome.imageio import load_json, save_json, save_text, sidecar_path
from voxelome.images import check_own_image
from voxelome.provenance import software_versions

if TYPE_CHECKING:
    from nipype.interfaces.base import SimpleInterface

# End of the name of a list of the files that a step has made.
MADE = ".made"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


@dataclass
class StepRecord:
    """What one run of a step made, measured, left out and why.

    The record is the step's one fixed output: how many images a session yields depends on its data.
    Downstream steps and the reports read nothing else to find their inputs.

    Attributes
    ----------
    step, unit : str
        Stage and what it ran on, such as ``sub-01_ses-1``.
    outputs : list of dict
        ``path`` (absolute in memory, relative to the record on disk), ``role`` and what tells one
        output of the same role from another (``image``, ``space``).
    done, warnings : list of str
        Sentences.
    skipped : list of dict
        ``what`` was not done, and ``why``.
    problems : list of dict
        Files that cannot be used: ``path``, ``problem``, ``remedy``. The step went on with the others.
    checks : list of dict
        Measures with a traffic light (see :mod:`voxelome.quality`).
    quality, parameters : dict
        Numbers that say whether to trust it; settings that it ran with.
    software : dict
        Versions of the programs that were there when it ran; another step's image has others.
    seconds, peak_memory_mb : float, int
        What the step took; the memory is that of its whole process.
    """

    step: str
    unit: str
    outputs: list[dict[str, Any]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    problems: list[dict[str, str]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    quality: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_mb: int = 0

    def add(self, path: Path, role: str, **tags: Any) -> Path:
        """Note an output and return its path."""
        self.outputs.append({"path": str(Path(path).resolve()), "role": role, **tags})
        return path

    def skip(self, what: str, why: str) -> None:
        """Note what was not done and why."""
        self.skipped.append({"what": what, "why": why})

    def reject(self, error: InputError) -> None:
        """Note a file that cannot be used, where the step goes on with the others."""
        self.problems.append({"path": error.source, "problem": error.problem, "remedy": error.remedy})

    def absorb(self, part: StepRecord) -> None:
        """Take in what a part of the step has noted, once that part has succeeded."""
        for name in ("outputs", "done", "warnings", "skipped", "problems", "checks"):
            getattr(self, name).extend(getattr(part, name))
        self.quality |= part.quality
        self.parameters |= part.parameters

    def find(self, role: str, **tags: Any) -> list[dict[str, Any]]:
        """Outputs of a role whose tags have these values."""
        return [
            output
            for output in self.outputs
            if output["role"] == role and all(output.get(key) == value for key, value in tags.items())
        ]

    def path(self, role: str, **tags: Any) -> Path | None:
        """Path of the first output of a role with these tags, or None."""
        found = self.find(role, **tags)
        return Path(found[0]["path"]) if found else None

    def save(self, path: Path | str) -> Path:
        """Write the record, with paths relative to it, so that the folder can be moved."""
        folder = Path(path).resolve().parent
        content = {item.name: getattr(self, item.name) for item in fields(self)}
        content["outputs"] = [
            {**output, "path": os.path.relpath(output["path"], folder)} for output in self.outputs
        ]
        return save_json(path, content)

    @classmethod
    def load(cls, path: Path | str) -> StepRecord:
        """Read a record and make its paths absolute."""
        record = cls(**load_json(path))
        folder = Path(path).resolve().parent
        for output in record.outputs:
            output["path"] = os.path.normpath(folder / output["path"])
        return record


@contextmanager
def recording(step: str, unit: str, path: Path | str) -> Iterator[StepRecord]:
    """Give an empty record and write it to `path` when the step has succeeded.

    Files that an earlier run of the step made and this one did not (a contrast was taken out of the
    dataset) are removed: they would pass for results.
    """
    start = time.perf_counter()
    before = files_made(Path(path))
    record = StepRecord(step, unit)
    yield record
    record.seconds = round(time.perf_counter() - start, 3)
    record.peak_memory_mb = peak_memory_mb()
    record.software = software_versions()
    record.save(path)
    for gone in before - {Path(item["path"]) for item in record.outputs}:
        for leftover in (gone, sidecar_path(gone)):
            leftover.unlink(missing_ok=True)
    note_made(Path(path), record)


def note_made(path: Path, record: StepRecord) -> None:
    """Write the list of made files beside a record, which Snakemake removes before its step runs again."""
    folder = path.resolve().parent
    made = "".join(f"{os.path.relpath(item['path'], folder)}\n" for item in record.outputs)
    save_text(list_of_made(path), made)


def list_of_made(record: Path) -> Path:
    """Path of the list, beside a record, of the files that its step has made."""
    return record.with_name(f".{record.stem}{MADE}")


def records_made(folder: Path) -> list[Path]:
    """Records of the steps that have made files of a visit, those included that are not there any more."""
    # One listing: thousands of visits are asked for.
    names = [entry.name for entry in os.scandir(folder)] if folder.is_dir() else []
    listed = (name[1:].removesuffix(MADE) for name in names if name.startswith(".") and name.endswith(MADE))
    records = {name for name in names if name.endswith(".json")}.union(f"{stem}.json" for stem in listed)
    return sorted(folder / name for name in records)


def files_made(record: Path) -> set[Path]:
    """Files that the last run of a step made, also where its record has been removed since."""
    found = {Path(item["path"]) for item in StepRecord.load(record).outputs} if record.is_file() else set()
    listed = list_of_made(record)
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    return found | {Path(os.path.normpath(record.resolve().parent / line)) for line in lines}


def peak_memory_mb() -> int:
    """Largest memory that this process has held, in MB.

    Snakemake's own figure is sampled every half minute and misses the peaks of a step; that of `getrusage`
    is at least what the parent held when it started this process.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM:")), 0)


def use_threads(count: int) -> None:
    """Limit the thread pools of libraries that are loaded after this call."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(count)


def build_parser(interface: type[SimpleInterface]) -> argparse.ArgumentParser:
    """Command line of an interface: names, types, help and defaults come from its input spec."""
    summary = (interface.__doc__ or interface.__name__).strip().splitlines()[0]
    parser = argparse.ArgumentParser(description=summary)
    for name, trait in sorted(interface.input_spec().traits(transient=None).items()):
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, **_argument(trait))
    return parser


def _argument(trait: Any) -> dict[str, Any]:
    """Translate one trait into keywords of `add_argument`."""
    kind = type(trait.trait_type).__name__
    default = trait.trait_type.default_value if trait.usedefault else None
    argument: dict[str, Any] = {
        "help": str(trait.desc).replace("%", "%%"),
        "required": bool(trait.mandatory),
        "default": argparse.SUPPRESS,
    }
    if kind in ("List", "InputMultiObject"):
        inner = type(trait.inner_traits[0].trait_type).__name__
        argument.update(nargs="*", type=_converter(inner), metavar=inner.upper())
    elif kind == "Bool":
        argument.update(action=argparse.BooleanOptionalAction)
    elif kind == "Enum":
        argument.update(choices=list(trait.trait_type.values))
    else:
        argument.update(type=_converter(kind), metavar=kind.upper())
    if trait.usedefault and kind != "Bool":
        argument["help"] += f" (default: {default})"
    return argument


def _converter(kind: str) -> type:
    return {"Int": int, "Range": float, "Float": float}.get(kind, str)


def run_step(interface: type[SimpleInterface], arguments: Sequence[str] | None = None) -> int:
    """Run a step from its command line; return the exit code.

    Bad input is one line on standard error and exit code 3; anything else is a defect of ours and
    shows its traceback.
    """
    options = vars(build_parser(interface).parse_args(arguments))
    use_threads(int(options.get("num_threads", 1)))

    def action() -> int:
        check_own_image(os.environ)
        interface(**options).run()
        return ExitCode.DONE

    return exit_code("voxelome", action)


def main(interface: type[SimpleInterface]) -> None:
    """Entry point of a script: say how it was called, so that the log's first line can be run again."""
    if not sys.stdout.isatty():
        command = shlex.join([sys.executable, *sys.argv])
        sys.stdout.write(f"$ cd {shlex.quote(str(Path.cwd()))} && {command}\n")
        sys.stdout.flush()
    sys.exit(run_step(interface))
