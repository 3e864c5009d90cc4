"""Which image of a visit may be its reference."""

from __future__ import annotations

# The first of these that a visit has is its reference: the others are registered to it.
REFERENCE_ORDER = ("T1w", "T2w", "FLAIR", "PDw")


def reference_rank(label: str) -> tuple[int, bool, str]:
    """Rank of an image as reference: plain T1w first, then contrast-enhanced T1w, T2w, FLAIR, PDw."""
    return REFERENCE_ORDER.index(label.rsplit("_", maxsplit=1)[-1]), "ce-" in label, label
