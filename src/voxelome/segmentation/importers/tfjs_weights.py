"""The weights of a TF.js model: shards of raw numbers, whole or quantised.

References
----------
TensorFlow.js, tfjs-core, io/io_utils.ts: decodeWeights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelome.errors import InputError, listed

# By layer and name, such as ("conv3d_0", "kernel").
Weights = dict[tuple[str, str], NDArray[np.float32]]

STORED = {"float32": "<f4", "float16": "<f2", "uint8": "u1", "uint16": "<u2", "int32": "<i4"}
FETCH_AGAIN = "fetch the model again"


def read_weights(model: Path, manifest: Sequence[Mapping[str, Any]] | None) -> Weights:
    """Weights that a model's manifest names, as float32.

    Parameters
    ----------
    model : path
        The ``model.json``; the shards lie beside it.
    manifest : sequence of mapping
        Its ``weightsManifest``: groups with ``paths`` and ``weights`` (name, shape, dtype and, where they are
        stored smaller, ``quantization``).

    Raises
    ------
    InputError
        A shard is missing, is longer or shorter than its weights, or their type is not known.
    """
    weights: Weights = {}
    for group in manifest or []:
        content = b"".join(_shard(model, name) for name in group["paths"])
        offset = 0
        for item in group["weights"]:
            values, offset = _decode(model, item, content, offset)
            *_, layer, name = ("", *str(item["name"]).split(":")[0].split("/"))
            weights[layer, name] = values
        if offset != len(content):
            problem = f"{listed(group['paths'])}: {len(content)} bytes, but the weights are {offset}"
            raise InputError(model, problem, FETCH_AGAIN)
    return weights


def _shard(model: Path, name: str) -> bytes:
    """Content of one of the files that lie beside the model."""
    path = model.parent / name
    if Path(name).name != name or not path.is_file():
        raise InputError(path, "the weights of the model are missing", FETCH_AGAIN)
    return path.read_bytes()


def _decode(
    model: Path, item: Mapping[str, Any], content: bytes, offset: int
) -> tuple[NDArray[np.float32], int]:
    """One tensor as float32, and where the next begins."""
    quantised = item.get("quantization", {})
    stored = str(quantised.get("dtype", item["dtype"]))
    if stored not in STORED:
        problem = f"the weights {item['name']!r} are stored as {stored}"
        raise InputError(model, problem, f"export them as one of {', '.join(STORED)}")
    count = math.prod(item["shape"])
    end = offset + count * np.dtype(STORED[stored]).itemsize
    if end > len(content):
        problem = f"the weights {item['name']!r} end at byte {end}, but there are only {len(content)}"
        raise InputError(model, problem, FETCH_AGAIN)
    values = np.frombuffer(content, STORED[stored], count, offset).astype(np.float32)
    if "scale" in quantised:
        values = values * np.float32(quantised["scale"]) + np.float32(quantised["min"])
    return values.reshape(item["shape"]), end
