"""Points of an image in the template's space, by the inverse of the deformation that brings it there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from voxelome.errors import DataError
from voxelome.imageio import Affine, FloatArray

# Takes points of an image's world to the template's, both of shape (n, 3) in mm; NaN where it cannot.
PointMap = Callable[[FloatArray], FloatArray]
_ROUNDS, _EXACT = 50, 0.01


def inverse_points(
    matrix: Affine, displacement: FloatArray | None = None, affine: Affine | None = None
) -> PointMap:
    """Function that takes image points to template points, from the transform that resamples the image there.

    That transform takes the template's point q to the image's point ``p = matrix (q + d(q))``. So q is
    where ``q = matrix^-1 p - d(q)`` holds, found by putting q in on the right again and again (Chen et al.,
    Med Phys 35:81, 2008); it converges where the displacement changes by less than 1 mm a mm.

    Parameters
    ----------
    matrix : ndarray, shape (4, 4)
        Template's world to the image's world, RAS mm.
    displacement : ndarray, shape (X, Y, Z, 3), optional
        RAS mm on the template's grid, added before `matrix`.
    affine : ndarray, shape (4, 4), optional
        Voxels of the displacement to the template's world.

    Returns
    -------
    callable
        Points (n, 3) to points (n, 3); NaN where it finds none within 0.01 mm, as beyond the template's grid.

    Raises
    ------
    DataError
        The matrix has no inverse, or a displacement has no affine.
    """
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-6:
        raise DataError("the transform to the template has no inverse", "register the image again")
    back = np.linalg.inv(matrix)
    if displacement is None:
        return lambda points: points @ back[:3, :3].T + back[:3, 3]
    if affine is None or displacement.ndim != 4 or displacement.shape[3] != 3:
        raise DataError(
            f"the displacement has shape {displacement.shape} and {'no' if affine is None else 'an'} affine",
            "give vectors (X, Y, Z, 3) and the affine of their grid",
        )
    to_voxels = np.linalg.inv(affine)
    components = [np.ascontiguousarray(displacement[..., axis]) for axis in range(3)]
    last = np.array(displacement.shape[:3]) - 0.5

    def moved(points: FloatArray) -> FloatArray:
        start = np.asarray(points @ back[:3, :3].T + back[:3, 3], dtype=np.float64)
        found, step = start, np.zeros(len(start))
        for _ in range(_ROUNDS):
            voxels = to_voxels[:3, :3] @ found.T + to_voxels[:3, 3:]
            shift = [ndimage.map_coordinates(part, voxels, order=1, mode="nearest") for part in components]
            step = np.linalg.norm(start - np.stack(shift, axis=1) - found, axis=1)
            found = start - np.stack(shift, axis=1)
            if step.max(initial=0) < _EXACT / 10:
                break
        voxels = found @ to_voxels[:3, :3].T + to_voxels[:3, 3]
        lost = (step > _EXACT) | (voxels < -0.5).any(axis=1) | (voxels > last).any(axis=1)
        found[lost] = np.nan
        return found

    return moved
