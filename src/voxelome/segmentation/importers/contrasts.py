"""Names that other programs give to contrasts, as BIDS suffixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxelome.errors import InputError, listed

# By the name without capitals and separators: suffix, and whether it is after contrast agent. The BraTS
# challenges say t1, t1ce, t2, flair up to 2021 and t1n, t1c, t2w, t2f since 2023.
CONTRASTS = {
    **dict.fromkeys(("t1", "t1w", "t1n", "t1pre"), ("T1w", False)),
    **dict.fromkeys(("t1c", "t1ce", "t1gd", "t1wc", "t1wce", "t1wgd", "t1post"), ("T1w", True)),
    **dict.fromkeys(("t2", "t2w"), ("T2w", False)),
    **dict.fromkeys(("flair", "t2f", "t2flair"), ("FLAIR", False)),
    **dict.fromkeys(("pd", "pdw"), ("PDw", False)),
    "ct": ("ct", False),
}


def shows_brain_alone(inputs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a network saw the brain alone: its z-scores, if there are any, are all of the brain."""
    regions = [item.get("region", "brain") for item in inputs if item.get("rule", "zscore") == "zscore"]
    return bool(regions) and all(region == "brain" for region in regions)


def named_inputs(
    source: Path, names: Sequence[str], rules: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Inputs of a card, one a channel.

    Parameters
    ----------
    source : path
        File that names the channels.
    names : sequence of str
        Such as ``T1ce``, in the order of the channels.
    rules : sequence of mapping
        Of each channel the fields of :class:`~voxelome.segmentation.spec.InputSpec` that say how its
        intensities are scaled.

    Raises
    ------
    InputError
        A name is not known.
    """
    inputs = []
    for name, rule in zip(names, rules, strict=True):
        plain = "".join(letter for letter in name.casefold() if letter.isalnum())
        if plain not in CONTRASTS:
            problem = f"calls a channel {name!r}, which is no contrast that is known"
            raise InputError(
                source, problem, f"give inputs in the network's entry (known: {listed(CONTRASTS, 30)})"
            )
        contrast, enhanced = CONTRASTS[plain]
        inputs.append({"contrast": contrast, "enhanced": enhanced, **rule})
    return inputs
