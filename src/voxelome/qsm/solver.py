"""Linear systems that are too large to write down."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from voxelome.imageio import Array


def conjugate_gradients(
    operator: Callable[[Array], Array],
    target: Array,
    iterations: int,
    *,
    start: Array | None = None,
    tolerance: float = 0.0,
) -> Array:
    """Solution of ``operator(x) = target`` (Hestenes and Stiefel, J Res Natl Bur Stand 49:409, 1952).

    Parameters
    ----------
    operator : callable
        Symmetric and positive, from an array to one of its shape.
    target : ndarray
    iterations : int
        At most.
    start : ndarray, optional
        First guess; zero if not given.
    tolerance : float
        Stop when the residual is smaller than this share of the first one.
    """
    solution = np.zeros_like(target) if start is None else start.copy()
    residual = target.copy() if start is None else target - operator(solution)
    step, size = residual.copy(), float(np.vdot(residual, residual))
    least = tolerance**2 * size
    for _ in range(iterations):
        if size <= least:
            break
        image = operator(step)
        length = np.float32(size / float(np.vdot(step, image)))
        solution += length * step
        residual -= length * image
        before, size = size, float(np.vdot(residual, residual))
        step *= np.float32(size / before)
        step += residual
    return solution
