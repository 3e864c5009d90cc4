"""One run at a time in a work folder; what a killed run left is cleared away by the next."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from voxelome.app.deployment import LOCAL
from voxelome.errors import InputError
from voxelome.imageio import TEMPORARY
from voxelome.provenance import workflow_root

LOCK = "run.lock"
# How long the rest of a killed run may take to end (app/guard.py).
GRACE = 20.0
_BOOT = Path("/proc/sys/kernel/random/boot_id")
# File systems that know no locks (some of clusters): what the last run has noted is then all that is known.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True)
class Owner:
    """A run: where and when it began, and what takes its jobs.

    ``boot`` tells one start of a machine from the next; containers on a machine share it.
    """

    host: str
    boot: str
    pid: int
    began: str
    executor: str = LOCAL

    @classmethod
    def this(cls, executor: str = LOCAL) -> Owner:
        """Return this process."""
        boot = _BOOT.read_text(encoding="ascii").strip() if _BOOT.is_file() else ""
        return cls(socket.gethostname(), boot, os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"), executor)

    @property
    def near(self) -> bool:
        """Whether it ran on this machine, whose locks therefore tell whether it still does."""
        here = Owner.this()
        return self.host == here.host or (self.boot == here.boot != "")

    @property
    def alive(self) -> bool:
        """Whether its process is still there."""
        return Path(f"/proc/{self.pid}").is_dir()

    def __str__(self) -> str:
        return f"that began {self.began} on {self.host} (process {self.pid})"


@dataclass(frozen=True)
class Hold:
    """The lock while it is held.

    Attributes
    ----------
    descriptor : int
        To pass on to Snakemake: the lock is held as long as either lives.
    killed : Owner or None
        The run before, where it did not come to its end.
    """

    descriptor: int
    killed: Owner | None


@contextmanager
def hold(
    work_dir: Path, command: Sequence[str], *, unlock: bool = False, executor: str = LOCAL
) -> Iterator[Hold]:
    """Hold the lock of a work folder.

    The kernel frees the lock when the processes that hold it end, however they end. So a killed run needs
    no ``--unlock``, unless some of it may be at work where it cannot be seen from here: it ran on another
    machine, it gave its jobs to a cluster, or the file system knows no locks.

    Parameters
    ----------
    work_dir : path
        Work folder; it is made.
    command : sequence of str
        Arguments of this call, to say how to unlock.
    unlock : bool
        Whether the user says that the run before is over.
    executor : str
        What takes the jobs of this run.

    Raises
    ------
    InputError
        Another run is at work, or may be.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    path = work_dir / LOCK
    with path.open("a+", encoding="utf-8") as file:
        locked = _lock(file.fileno(), path, work_dir)
        before = _owner(path)
        if before and not unlock:
            _refuse_if_at_work(before, work_dir, command, locked)
        if before:
            _clear(work_dir)
        _write(file.fileno(), json.dumps(asdict(Owner.this(executor))))
        try:
            yield Hold(file.fileno(), before)
        finally:
            _write(file.fileno(), "")


def unlock_command(command: Sequence[str]) -> str:
    """Command line that takes away the lock of a call with these arguments."""
    own = list(command)
    cut = own.index("--") if "--" in own else len(own)
    return shlex.join(["voxelome", *own[:cut], "--unlock", *own[cut:]])


def sweep(folder: Path) -> list[Path]:
    """Remove half-written files below a folder that killed steps have left; return their paths."""
    found = [path for path in folder.rglob(f"{TEMPORARY}*") if path.is_file()] if folder.is_dir() else []
    for path in found:
        path.unlink(missing_ok=True)
    return found


def _lock(descriptor: int, path: Path, work_dir: Path) -> bool:
    """Take the lock, and wait where a killed run is about to end; return False where there are no locks."""
    deadline = time.monotonic() + GRACE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(path)
            ending = owner is not None and owner.near and not owner.alive
            if ending and time.monotonic() < deadline:
                time.sleep(0.2)
                continue
            raise _in_use(work_dir, owner) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return False
        return True


def _in_use(work_dir: Path, owner: Owner | None) -> InputError:
    who = f" {owner}" if owner else ""
    remedy = "wait for its end, or give this one another OUT_DIR or --work-dir"
    return InputError(work_dir, f"is in use by another run{who}", remedy)


def _owner(path: Path) -> Owner | None:
    """Read who holds, or held and did not give back, a lock."""
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return None


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.write(descriptor, text.encode())


def _refuse_if_at_work(before: Owner, work_dir: Path, command: Sequence[str], locked: bool) -> None:
    if why := _unseen(before, locked):
        problem = f"was in use by a run {before}, and did not come to its end; {why}"
        raise InputError(work_dir, problem, f"if it is over, unlock: {unlock_command(command)}")
    left = leftovers(work_dir)
    if left:
        pids = " ".join(map(str, left))
        problem = f"steps of a run that was killed are still at work (processes {pids})"
        raise InputError(work_dir, problem, f"wait for them, or end them: kill {pids}")


def _unseen(before: Owner, locked: bool) -> str:
    """Why it cannot be known whether a run, or a job of it, is still at work; empty where it can."""
    if before.executor != LOCAL:
        return f"its jobs may still be in the queue ({before.executor}): look there"
    if not before.near:
        return "what runs on that machine cannot be seen from here"
    # The identifier of a process says nothing: in another container it is another's.
    return "" if locked else "this file system has no locks that tell"


def leftovers(work_dir: Path) -> list[int]:
    """Identifiers of the processes on this machine that are steps, or a Snakemake, of a work folder."""
    programs = {"snakemake", *(path.name for path in workflow_root().glob("scripts/*.py"))}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = process.joinpath("cwd").resolve(strict=True) == work_dir
            words = process.joinpath("cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
        except OSError:  # it has ended, or is another user's
            continue
        if inside and _program(words) in programs and int(process.name) != os.getpid():
            found.append(int(process.name))
    return sorted(found)


def _program(words: Sequence[str]) -> str:
    """Name of the program, or of the module, that a command line has Python run; empty for other programs."""
    if not Path(words[0]).name.startswith("python"):
        return ""
    return next((Path(word).name for word in words[1:] if not word.startswith("-")), "")


def _clear(work_dir: Path) -> None:
    """Take away Snakemake's lock: whoever took it is gone."""
    shutil.rmtree(work_dir / ".snakemake" / "locks", ignore_errors=True)
