"""Files of torch: their tensors, without running anything that is in them."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from voxelome.claims import check_archive_claim
from voxelome.errors import InputError, listed

# What training on several GPUs, and compiling, put before the names of the weights.
PREFIXES = ("module.", "_orig_mod.")
FETCH_AGAIN = "fetch or copy it again"

# How a damaged file fails; the last ones, when a value in it is of the wrong type.
_DAMAGE = (RuntimeError, OSError, EOFError, LookupError, ValueError, TypeError, AttributeError)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Content of a checkpoint: a mapping of names to tensors, numbers, texts and mappings of these.

    A pickle may name any function to be called. torch reads it with ``weights_only``, which knows tensors
    and plain containers alone; numbers of numpy, which the logs inside of checkpoints hold, are added.

    Parameters
    ----------
    path : path
        Written by ``torch.save``.

    Raises
    ------
    InputError
        There is no such file, it is damaged, or it holds something else.
    """
    import torch

    if not path.is_file():
        raise InputError(path, "there is no such file", "give the whole folder of the network")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_archive_claim(path, archive)
    try:
        with torch.serialization.safe_globals(_numpy_numbers()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named is None:
            raise InputError(path, "is no whole checkpoint of torch", FETCH_AGAIN) from error
        problem = f"its pickle calls {named[1]}, which no weights need"
        raise InputError(
            path, problem, "save the weights alone: torch.save(network.state_dict(), file)"
        ) from error
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(path, f"cannot be read by torch ({reason})", FETCH_AGAIN) from error
    if not isinstance(content, dict):
        raise InputError(path, f"holds a {type(content).__name__}, not weights by name", FETCH_AGAIN)
    return content


def _numpy_numbers() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """What a pickle of numbers of numpy names; numpy 2 renamed its module."""
    scalar: Any = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "f2", "i8", "i4", "?")]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    return [np.dtype, *kinds, *[(scalar, name) for name in names]]


def load_weights(network: Any, weights: Mapping[str, Any], source: Path) -> None:
    """Put weights into a network, every one of them where its name says.

    Parameters
    ----------
    network : torch.nn.Module
    weights : mapping of str to tensor
        Names may begin with one of :data:`PREFIXES`.
    source : path
        File that they come from.

    Raises
    ------
    InputError
        Names or shapes are not those of the network.
    """
    state = {_bare(name): value for name, value in weights.items()}
    wanted = network.state_dict()
    amiss = sorted(set(state) ^ set(wanted))
    if amiss:
        problem = f"its weights are not those of the network described beside it ({listed(amiss, 3)})"
        raise InputError(source, problem, "give the description that belongs to these weights")
    for name, value in wanted.items():
        if getattr(state[name], "shape", None) != value.shape:
            found = tuple(getattr(state[name], "shape", ()))
            problem = f"the weights {name} have the shape {found}, not {tuple(value.shape)}"
            raise InputError(source, problem, "give the description that belongs to these weights")
    network.load_state_dict(state)


def _bare(name: str) -> str:
    """Name without the prefixes."""
    while name.startswith(PREFIXES):
        name = name.split(".", 1)[1]
    return name
