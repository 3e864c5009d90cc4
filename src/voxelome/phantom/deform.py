"""Where a point of a participant's image lies in the template: grids, head poses, smooth warps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from voxelome.imageio import Affine, FloatArray

Vector = Sequence[float] | FloatArray

# Distance between the knots of a random warp, and of the grid on which it is tabulated (mm).
_KNOTS = 36.0
_TABLE = 4.0
# Corner and extent of the box in which a warp is tabulated (mm): every field of view lies inside.
_CORNER = np.array([-150.0, -190.0, -170.0])
_EXTENT = np.array([300.0, 350.0, 330.0])


@dataclass(frozen=True)
class Grid:
    """Voxels of an image: shape, and affine of shape (4, 4) to world (RAS+, mm)."""

    shape: tuple[int, int, int]
    affine: Affine

    def points(self, matrix: Affine | None = None) -> FloatArray:
        """World points of all voxels, taken through `matrix` where given; shape (3, X, Y, Z), mm."""
        rows = (self.affine if matrix is None else matrix @ self.affine)[:3].astype(np.float32)
        i, j, k = (np.arange(count, dtype=np.float32) for count in self.shape)
        return np.stack([(a * i + d)[:, None, None] + (b * j)[:, None] + c * k for a, b, c, d in rows])


def centred_grid(shape: tuple[int, int, int], spacing: Sequence[float], centre: Sequence[float]) -> Grid:
    """Grid along the world's axes whose middle lies at `centre` (mm)."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = np.asarray(centre) - (np.asarray(shape) - 1) / 2 * np.asarray(spacing)
    return Grid(shape, affine)


def rigid_matrix(angles: Vector, shift: Vector, centre: Vector) -> Affine:
    """Rotation about a point, then a shift, as a matrix of shape (4, 4).

    Parameters
    ----------
    angles : sequence of 3 float
        Degrees about x, y and z, applied in this order.
    shift, centre : sequence of 3 float
        mm.
    """
    rotation = np.eye(3)
    for axis, angle in enumerate(np.radians(angles)):
        a, b = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        sign = -1.0 if axis == 1 else 1.0
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -sign * np.sin(angle), sign * np.sin(angle)
        rotation = turn @ rotation
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = np.asarray(centre) + np.asarray(shift) - rotation @ np.asarray(centre)
    return matrix


def random_motion(rng: np.random.Generator, centre: Sequence[float], limit: float = 5.0) -> Affine:
    """Rigid motion of a head between two images, at most `limit` degrees an axis and `limit` mm.

    Returns
    -------
    ndarray, shape (4, 4)
        Takes a point of the reference image to the same anatomy in the moved image, RAS mm.
    """
    shift = rng.normal(size=3)
    shift *= limit * rng.uniform(0.2, 1.0) / np.linalg.norm(shift)
    return rigid_matrix(rng.uniform(-limit, limit, 3) * 0.8, shift, centre)


@dataclass(frozen=True)
class Warp:
    """From a participant's world to the template: an affine, then a smooth displacement.

    Attributes
    ----------
    affine : ndarray, shape (4, 4)
        Participant's world (mm) to the template's.
    table : ndarray, shape (3, X, Y, Z)
        Displacement in mm at points of the template box, added after the affine.
    """

    affine: Affine
    table: FloatArray

    def to_template(self, points: FloatArray) -> FloatArray:
        """Template points of world points, both of shape (3, ...), mm."""
        flat = points.reshape(3, -1)
        rows = self.affine.astype(np.float32)
        moved = rows[:3, :3] @ flat + rows[:3, 3:]
        where = (moved - _CORNER.astype(np.float32)[:, None]) / np.float32(_TABLE)
        for axis, component in enumerate(self.table):
            moved[axis] += ndimage.map_coordinates(component, where, order=1, mode="nearest")
        return np.asarray(moved.reshape(points.shape))


def random_warp(rng: np.random.Generator, scale: Vector, pose: Affine, amplitude: float = 3.0) -> Warp:
    """Anatomy of one participant: head size, position, and a displacement of several mm.

    Cubic B-splines on knots 36 mm apart with normal coefficients: at the default amplitude the
    displacement's gradient stays far below 1, so that the map is one to one.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the coefficients.
    scale : sequence of 3 float
        Size of this head relative to the template, an axis.
    pose : ndarray, shape (4, 4)
        Where the scaled head lies in the scanner: rigid, RAS mm.
    amplitude : float
        Standard deviation of the knots' coefficients in mm.
    """
    knots = (_EXTENT / _KNOTS).astype(int) + 4
    counts = (_EXTENT / _TABLE).astype(int) + 1
    bases = [_spline_basis(count, knot) for count, knot in zip(counts, knots, strict=True)]
    table: FloatArray = rng.normal(0.0, amplitude, (3, *knots))
    for basis in bases:
        table = np.tensordot(table, basis, axes=(1, 1))
    affine = np.diag([*(1 / np.asarray(scale)), 1.0]) @ np.linalg.inv(pose)
    return Warp(affine, table.astype(np.float32))


def _spline_basis(count: int, knots: int) -> FloatArray:
    """Values of the cubic B-splines at the tabulated points of one axis, shape (count, knots)."""
    position = np.arange(count) * _TABLE / _KNOTS + 1
    distance = np.abs(position[:, None] - np.arange(knots))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.asarray(np.where(distance < 1, near, far))
