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

from voxelome.errors import InputError
from voxelome.imageio import TEMPORARY

LOCK = "run.lock"
# How long the rest of a killed run may take to end (app/guard.py).
GRACE = 20.0
_BOOT = Path("/proc/sys/kernel/random/boot_id")
# File systems that know no locks (some of clusters): Snakemake's own lock is then the only one.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True)
class Owner:
    """A run: where and when it began.

    ``boot`` tells one start of a machine from the next; containers on a machine share it.
    """

    host: str
    boot: str
    pid: int
    began: str

    @classmethod
    def this(cls) -> Owner:
        """Return this process."""
        boot = _BOOT.read_text(encoding="ascii").strip() if _BOOT.is_file() else ""
        return cls(socket.gethostname(), boot, os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"))

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
def hold(work_dir: Path, command: Sequence[str], *, unlock: bool = False) -> Iterator[Hold]:
    """Hold the lock of a work folder.

    The kernel frees the lock when the processes that hold it end, however they end. So a killed run needs
    no ``--unlock``, unless it ran on another machine, whose processes are not to be seen from here.

    Parameters
    ----------
    work_dir : path
        Work folder; it is made.
    command : sequence of str
        Arguments of this call, to say how to unlock.
    unlock : bool
        Whether the user says that the run before is over.

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
        _write(file.fileno(), json.dumps(asdict(Owner.this())))
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
    if not locked and before.near and before.alive:
        raise _in_use(work_dir, before)
    if not before.near:
        problem = f"was in use by a run {before}, and did not come to its end"
        raise InputError(work_dir, problem, f"if it is over, unlock: {unlock_command(command)}")
    left = leftovers(work_dir)
    if left:
        pids = " ".join(map(str, left))
        problem = f"steps of a run that was killed are still at work (processes {pids})"
        raise InputError(work_dir, problem, f"wait for them, or end them: kill {pids}")


def leftovers(work_dir: Path) -> list[int]:
    """Identifiers of the processes on this machine that are steps, or a Snakemake, of a work folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = process.joinpath("cwd").resolve(strict=True) == work_dir
            line = process.joinpath("cmdline").read_bytes()
        except OSError:  # it has ended, or is another user's
            continue
        if inside and (b"--record" in line or b"snakemake" in line):
            found.append(int(process.name))
    return sorted(found)


def _clear(work_dir: Path) -> None:
    """Take away Snakemake's lock: whoever took it is gone."""
    shutil.rmtree(work_dir / ".snakemake" / "locks", ignore_errors=True)
