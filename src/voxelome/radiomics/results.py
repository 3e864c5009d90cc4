"""What an engine gives: the features of a region, with a reason where there is no value."""

from __future__ import annotations

from dataclasses import dataclass, field

# Fewer or more gray levels than these say little about texture.
USEFUL_LEVELS = (4, 1000)


@dataclass(frozen=True)
class FeatureValue:
    """One feature; `value` is None where it cannot be computed, and `reason` then says why."""

    filter: str
    feature_class: str
    feature: str
    value: float | None
    unit: str
    reason: str


@dataclass(frozen=True)
class RegionFeatures:
    """Features of one region of one image.

    Attributes
    ----------
    values : list of FeatureValue
        Every feature of every class and derived image, also those that the region does not allow.
    levels : dict
        Gray levels between the extremes of the region, for every derived image that has any.
    """

    values: list[FeatureValue] = field(default_factory=list)
    levels: dict[str, int] = field(default_factory=dict)

    def doubtful_levels(self) -> dict[str, int]:
        """Return the derived images whose number of gray levels is under 4 or over 1,000."""
        low, high = USEFUL_LEVELS
        return {name: count for name, count in self.levels.items() if not low <= count <= high}
