"""The errors that a user can cause, and the exit codes that they lead to."""

from __future__ import annotations

import difflib
import errno
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """Exit codes of every command of voxelome."""

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    INPUT = 3
    DEFECT = 70


class DataError(Exception):
    """Data that a computation cannot use, where no file is known yet.

    Numerics see arrays and no paths: they raise this, and :func:`blame` makes an
    :class:`InputError` of it that names the file.

    Parameters
    ----------
    problem : str
        What is wrong, with the values seen.
    remedy : str
        What the user can do about it.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[DataError], tuple[str, ...]]:
        """Let the error pass from one process to another."""
        return type(self), (self.problem, self.remedy)


class InputError(DataError):
    """Bad input: the file (or option), what is wrong with it, what to do.

    Shown as one line without a traceback; the exit code is 3.
    """

    def __init__(self, source: Path | str, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.source = str(source)

    def __reduce__(self) -> tuple[type[InputError], tuple[str, ...]]:
        """Let the error pass from one process to another."""
        return type(self), (self.source, self.problem, self.remedy)

    def __str__(self) -> str:
        return f"{self.source}: {self.problem}; {self.remedy}"


_STORAGE = {
    errno.ENOSPC: ("there is no space left on its device", "make room"),
    errno.EDQUOT: ("your quota of disk space is used up", "make room"),
    errno.EROFS: ("cannot be written, its file system is read-only", "choose another folder, or remount it"),
    errno.EACCES: ("permission is denied", "see to its permissions"),
    errno.EPERM: ("permission is denied", "see to its permissions"),
}


def storage_error(error: OSError, path: Path | str | None = None) -> InputError | None:
    """Return what a user can do something about (a full disk, a folder without permission), or None.

    Parameters
    ----------
    error : OSError
        What the operating system said.
    path : path, optional
        What was to be written; by default the file that the error names.
    """
    if error.errno not in _STORAGE:
        return None
    problem, remedy = _STORAGE[error.errno]
    return InputError(
        path or error.filename or "output", problem, f"{remedy}, then give the same command again"
    )


def memory_error(error: Exception) -> DataError | None:
    """Return what a user can do something about where memory did not suffice, or None.

    Libraries in C++ turn their own kind of it (``std::bad_alloc``) into errors of other names.
    """
    text = " ".join(str(error).split())
    if not isinstance(error, MemoryError) and "bad_alloc" not in text:
        return None
    remedy = "run fewer steps at once (--nprocs, --mem-mb), or use a machine with more"
    return DataError(f"there is not enough memory ({text[-200:] or type(error).__name__})", remedy)


def exit_code(program: str, action: Callable[[], int]) -> int:
    """Run what a command line asks for, as the outermost frame of its process; return the exit code.

    Bad input is one line on standard error and code 3. Anything else that is raised is a defect of ours:
    its traceback is shown, and the code is 70.
    """
    try:
        return action()
    except DataError as error:
        return _refuse(program, error)
    except Exception as error:  # noqa: BLE001  nothing above could take it: it is shown, and becomes the exit code
        known = storage_error(error) if isinstance(error, OSError) else memory_error(error)
        if known is not None:
            return _refuse(program, known)
        traceback.print_exc()
        sys.stderr.write(f"{program}: this is a defect of voxelome; please report it with the lines above\n")
        return ExitCode.DEFECT


def _refuse(program: str, error: DataError) -> int:
    """Say in one line what the user can do something about."""
    sys.stderr.write(f"{program}: error: {' '.join(str(error).split())}\n")
    return ExitCode.INPUT


def listed(names: Iterable[object], most: int = 8) -> str:
    """Return names as text, the first few where there are many."""
    every = [str(name) for name in names]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def suggest(word: str, known: Sequence[str], most: int = 10) -> str:
    """Advise the nearest of the names that there are, or list them.

    Examples
    --------
    >>> suggest("bin_cuont", ["bin_count", "bin_width"])
    'did you mean bin_count?'
    >>> suggest("x", ["one", "two"])
    'there are: one, two'
    """
    folded = {name.casefold(): name for name in known}
    near = [folded[match] for match in difflib.get_close_matches(word.casefold(), folded, n=2)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    listed = ", ".join(known[:most]) + (" ..." if len(known) > most else "")
    return f"there are: {listed or 'none'}"


@contextmanager
def blame(source: Path | str) -> Iterator[None]:
    """Turn a :class:`DataError` raised inside into an :class:`InputError` about `source`."""
    try:
        yield
    except InputError:
        raise
    except DataError as error:
        raise InputError(source, error.problem, error.remedy) from error
