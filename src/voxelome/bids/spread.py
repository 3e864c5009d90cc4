"""One function of many items, on several cores where there are enough of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Fewer than these take less time than a process takes to start; more processes wait for the disk.
LEAST = 500
_MOST_PROCESSES = 8
_PARTS = 8  # of each process's share, so that none is left with the slow ones
_shared: dict[str, Callable[[Any], Any]] = {}


def spread(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Results of a function in the order of the items; what it raises is raised here.

    Parameters
    ----------
    function : callable
        Computes in Python alone, and needs nothing from what it did for other items.
    items : sequence
        What crosses to the other processes, as its results do back.
    """
    workers = min(available_cores(), len(items) // LEAST, _MOST_PROCESSES)
    if workers < 2:
        return [function(item) for item in items]
    share = len(items) // (_PARTS * workers) + 1
    # A fork has the function and all that it knows without a copy, and starts at once.
    pool = ProcessPoolExecutor(workers, get_context("fork"), initializer=_begin, initargs=(function,))
    with pool:
        return list(pool.map(_call, items, chunksize=share))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _begin(function: Callable[[Any], Any]) -> None:
    # An interrupt is for the process that the user started.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _shared["function"] = function


def _call(item: Any) -> Any:
    return _shared["function"](item)
