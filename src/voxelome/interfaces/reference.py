"""Which image of a visit is its reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxelome.bids.reference import reference_rank
from voxelome.imageio import Affine, Array, voxel_sizes
from voxelome.step import StepRecord

# Of two images of one contrast, one whose voxels are longer than the other's by this factor is the worse.
CLEARLY_LONGER = 1.2


@dataclass(frozen=True)
class CheckedImage:
    """An image that passed the checks, in RAS+ voxel order; ``whole`` where it holds a whole head."""

    label: str
    path: Path
    data: Array
    affine: Affine
    whole: bool


def rank_references(
    images: Mapping[str, CheckedImage], candidates: Sequence[str], record: StepRecord
) -> list[str]:
    """Labels of the usable candidates, best first; what decided is said in the record.

    Images of a whole head come before others, then the contrasts in the order of
    :data:`voxelome.bids.reference.REFERENCE_ORDER`. Of several images of one contrast (runs), those whose
    voxels are clearly longer than the others' come last; of the rest, the one with the least ghosting and
    blurring (entropy of the gradient) comes first.

    Parameters
    ----------
    images : mapping
        Usable images by label.
    candidates : sequence of str
        Labels of all images of the visit that may be the reference, by contrast.
    """
    usable = [images[label] for label in candidates if label in images]
    kinds: dict[tuple[bool, int, bool], list[CheckedImage]] = {}
    for image in usable:
        contrast, enhanced, _ = reference_rank(image.label)
        kinds.setdefault((not image.whole, contrast, enhanced), []).append(image)
    order = [image for kind in sorted(kinds) for image in _by_quality(kinds[kind], record)]
    if order:
        first, wanted = order[0], candidates[0]
        if wanted not in images:
            record.warnings.append(f"{first.label} is the reference, because {wanted} cannot be used.")
        elif first.whole and not images[wanted].whole:
            record.warnings.append(
                f"{first.label} is the reference, because {wanted} does not hold a whole head."
            )
    return [image.label for image in order]


def _by_quality(rivals: Iterable[CheckedImage], record: StepRecord) -> list[CheckedImage]:
    """Images of one contrast, the best first."""
    from voxelome.anat.efc import gradient_entropy

    images = list(rivals)
    if len(images) == 1:
        return images
    longest = {image.label: max(voxel_sizes(image.affine)) for image in images}
    limit = CLEARLY_LONGER * min(longest.values())
    focus = {image.label: gradient_entropy(image.data) for image in images}
    record.quality |= {f"{label} gradient entropy": round(value, 4) for label, value in focus.items()}
    images.sort(key=lambda image: (longest[image.label] > limit, focus[image.label]))
    others = ", ".join(image.label for image in images[1:])
    record.done.append(
        f"{images[0].label} comes before {others}: finer voxels, or less ghosting and blurring (entropy of "
        "the gradient)."
    )
    return images
