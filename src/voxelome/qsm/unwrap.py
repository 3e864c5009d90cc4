"""Phase without 2 pi jumps, by growing a region from its most reliable voxel."""

from __future__ import annotations

from typing import Any

import numpy as np

from voxelome.compiled import compiled
from voxelome.imageio import Array, MaskArray

_LEVELS = 256
_TURN = 2.0 * np.pi


def unwrap_spatially(phase: Array, magnitude: Array, mask: MaskArray) -> Array:
    """Unwrapped phase, grown along the most reliable neighbours first.

    The scheme is that of ROMEO (Dymerska et al., Magn Reson Med 85:2294, 2021): every pair of neighbours
    has a weight, the product of how alike their phases and their magnitudes are, and a bucket queue
    always takes the pair of greatest weight that leads out of the region. Separate parts of the mask
    are grown separately; the mean of each is brought within half a turn of 0, because nothing ties one to
    another.

    Parameters
    ----------
    phase : ndarray, shape (x, y, z)
        Wrapped phase in rad.
    magnitude : ndarray, shape (x, y, z)
    mask : ndarray of bool, shape (x, y, z)

    Returns
    -------
    ndarray of float32, shape (x, y, z)
        Differs from `phase` by multiples of 2 pi inside the mask; 0 outside.
    """
    wrapped = np.ascontiguousarray(phase, dtype=np.float32)
    weights = _edge_weights(wrapped, np.ascontiguousarray(magnitude, dtype=np.float32), mask)
    quality = weights.astype(np.int32).sum(axis=0)
    inside = np.flatnonzero(mask)
    seeds = inside[np.argsort(-quality.ravel()[inside], kind="stable")]
    unwrapped: Array
    unwrapped, region = _grow(wrapped, weights, seeds)
    part, values = region.ravel()[inside], unwrapped.ravel()[inside].astype(np.float64)
    means = np.bincount(part, values) / np.maximum(np.bincount(part), 1)
    unwrapped.ravel()[inside] = values - _TURN * np.round(means / _TURN)[part]
    return unwrapped


def unwrap_to(expected: Array, phase: Array) -> Array:
    """Phase shifted by the multiples of 2 pi that bring it closest to what is expected (rad)."""
    shifted: Array = phase + _TURN * np.round((expected - phase) / _TURN)
    return shifted


def wrap_fraction(unwrapped: Array, mask: MaskArray) -> float:
    """Share of neighbouring voxels in the mask whose phase differs by more than half a turn."""
    jumps = pairs = 0
    for axis in range(3):
        values, inside = np.moveaxis(unwrapped, axis, 0), np.moveaxis(mask, axis, 0)
        both = inside[1:] & inside[:-1]
        jumps += int(np.count_nonzero(both & (np.abs(values[1:] - values[:-1]) > np.pi)))
        pairs += int(np.count_nonzero(both))
    return jumps / max(pairs, 1)


@compiled()
def _edge_weights(phase: Any, magnitude: Any, mask: Any) -> Any:
    """Weight 1..255 of each voxel's pair with its next neighbour an axis; 0 where there is none."""
    nx, ny, nz = phase.shape
    weights = np.zeros((3, nx, ny, nz), np.uint8)
    for x in range(nx):
        for y in range(ny):
            for z in range(nz):
                if not mask[x, y, z]:
                    continue
                for axis in range(3):
                    x2, y2, z2 = x + (axis == 0), y + (axis == 1), z + (axis == 2)
                    if x2 == nx or y2 == ny or z2 == nz or not mask[x2, y2, z2]:
                        continue
                    step = phase[x2, y2, z2] - phase[x, y, z]
                    step -= _TURN * np.round(step / _TURN)
                    first, second = magnitude[x, y, z], magnitude[x2, y2, z2]
                    largest = max(first, second)
                    alike = (min(first, second) / largest) ** 2 if largest > 0 else 0.0
                    weight = (1.0 - abs(step) / np.pi) * alike
                    weights[axis, x, y, z] = 1 + int(weight * (_LEVELS - 2))
    return weights


@compiled()
def _grow(phase: Any, weights: Any, seeds: Any) -> Any:
    """Unwrapped phase and the number of the region that each voxel was reached from."""
    nx, ny, nz = phase.shape
    total = nx * ny * nz
    strides = (ny * nz, nz, 1)
    flat = phase.ravel()
    weight = weights.ravel()
    result = np.zeros(total, np.float32)
    region = np.full(total, -1, np.int32)
    # An edge enters the queue once, when its first end is reached, so linked lists over edges suffice.
    following = np.full(3 * total, -1, np.int32)
    head = np.full(_LEVELS, -1, np.int32)
    count = 0
    for seed in seeds:
        if region[seed] >= 0:
            continue
        region[seed] = count
        result[seed] = flat[seed]
        best = _enqueue(seed, region, weight, strides, total, following, head, 0)
        while best > 0:
            edge = head[best]
            if edge < 0:
                best -= 1
                continue
            head[best] = following[edge]
            axis = edge // total
            near = edge - axis * total
            far = near + strides[axis]
            if region[far] >= 0 and region[near] >= 0:
                continue
            if region[near] < 0:
                near, far = far, near
            turns = np.round((result[near] - flat[far]) / _TURN)
            result[far] = flat[far] + _TURN * turns
            region[far] = count
            best = _enqueue(far, region, weight, strides, total, following, head, best)
        count += 1
    return result.reshape(phase.shape), region.reshape(phase.shape)


@compiled()
def _enqueue(
    voxel: int, region: Any, weight: Any, strides: Any, total: int, following: Any, head: Any, best: Any
) -> Any:
    """Put the edges that lead out of a voxel into their buckets; return the best bucket in use."""
    for axis in range(3):
        for start in (voxel, voxel - strides[axis]):
            if start < 0:
                continue
            edge = axis * total + start
            level = weight[edge]
            other = start + strides[axis] if start == voxel else start
            if level > 0 and region[other] < 0:
                following[edge] = head[level]
                head[level] = edge
                if level > best:
                    best = np.int64(level)
    return best
