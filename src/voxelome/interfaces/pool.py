"""The same work on several inputs, by several processes where there are threads for them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from voxelome.step import use_threads

Job = TypeVar("Job")
Result = TypeVar("Result")


def each(work: Callable[[Job], Result], jobs: Sequence[Job], threads: int) -> Iterator[Result]:
    """Yield the results of jobs in their order.

    Parameters
    ----------
    work : callable
        A function of a module, which another process can import.
    jobs : sequence
        Inputs that go from one process to another.
    threads : int
        Processes at most; each is left one thread.
    """
    if min(threads, len(jobs)) < 2:
        yield from map(work, jobs)
        return
    # Processes, because PyRadiomics holds the interpreter's lock; none is forked off a process with threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(threads, len(jobs)), context, use_threads, (1,)) as pool:
        yield from pool.map(work, jobs)
