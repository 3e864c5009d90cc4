"""Compilation of loops, with the types that numba's own decorator does not keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(*, fastmath: bool = False) -> Callable[[Function], Function]:
    """Decorator that compiles a function when it is first called and keeps the result on disk."""
    return cast(Callable[[Function], Function], numba.njit(cache=True, fastmath=fastmath))
