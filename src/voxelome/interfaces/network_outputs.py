"""What a network found beside its labels: probabilities, uncertainty, a table of lesions, confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from voxelome.bids.names import entity_value, space_label, split_label
from voxelome.imageio import save_json, save_volume, voxel_sizes
from voxelome.interfaces.delivery import Delivery, LabelImage
from voxelome.interfaces.tables import save_table
from voxelome.segmentation.spec import NetworkSpec
from voxelome.step import StepRecord

if TYPE_CHECKING:
    from voxelome.segmentation.infer import Prediction
    from voxelome.segmentation.template_points import PointMap


def save_findings(
    image: LabelImage,
    found: Prediction,
    network: NetworkSpec,
    delivery: Delivery,
    probabilities: bool,
    record: StepRecord,
) -> None:
    """Save maps and tables of a segmentation, on the grid of the reference, and note them in the record."""
    key = split_label(image.home)[1]
    space, about = space_label(key), {**image.sidecar, "SpatialReference": f"the visit's {image.home}"}
    if probabilities:
        for value, probability in found.probabilities.items():
            label = entity_value(network.labels[value])
            out = delivery.path("probseg", ".nii.gz", space=space, label=label, desc=image.desc)
            save_volume(out, probability, image.affine, {**about, "Units": "1"})
            record.add(out, "probability", name=image.name, label=network.labels[value], space=key)
    maps = {
        "entropymap": ("entropy", found.entropy, "of the mean probability, 1 where all classes are alike")
    }
    if found.passes > 1:
        maps["disagreementmap"] = (
            "disagreement",
            found.disagreement,
            f"mutual information between {found.passes} passes and the answer",
        )
    for suffix, (role, data, text) in maps.items():
        out = delivery.path(suffix, ".nii.gz", space=space, desc=image.desc)
        save_volume(out, data.astype(np.float32), image.affine, {**about, "Units": "1", "Description": text})
        record.add(out, role, name=image.name, space=key)
    if network.lesions:
        _lesions(image, found, network, delivery, record)
    elif image.labels.any():
        inside = image.labels > 0
        record.quality[f"{image.name} mean entropy"] = round(float(found.entropy[inside].mean()), 4)


def _lesions(
    image: LabelImage, found: Prediction, network: NetworkSpec, delivery: Delivery, record: StepRecord
) -> None:
    from voxelome.segmentation.confidence import case_confidence, lesion_probability
    from voxelome.segmentation.lesions import lesion_columns, lesion_table

    probability = lesion_probability(found.probabilities, network.activation)
    rows = lesion_table(
        image.labels,
        image.affine,
        image.names,
        probability=probability,
        to_template=_to_template(delivery.registered),
    )
    columns = lesion_columns(image.names)
    key = space_label(split_label(image.home)[1])
    out = delivery.path("lesions", ".tsv", space=key, desc=image.desc)
    save_table(out, list(columns), rows)
    dictionary = {
        name: {"Description": meaning, "Units": unit or "n/a"} for name, (meaning, unit) in columns.items()
    }
    save_json(out.with_suffix(".json"), dictionary)
    record.add(out, "lesions", name=image.name)
    confidence = case_confidence(image.labels > 0, probability, voxel_sizes(image.affine))
    record.quality |= {
        f"{image.name} lesions": len(rows),
        f"{image.name} expected volume": round(confidence.expected_volume, 3),
        f"{image.name} entropy": round(confidence.entropy, 4),
    }
    if confidence.expected_dice is not None:
        record.quality[f"{image.name} expected Dice"] = round(confidence.expected_dice, 3)


def _to_template(registered: StepRecord) -> PointMap | None:
    """What takes points of the reference to the first template space; None where there is none."""
    from voxelome.registration.resample import load_itk_warp
    from voxelome.segmentation.template_points import inverse_points

    warps = registered.find("warp")
    if not warps:
        return None
    displacement, affine = load_itk_warp(warps[0]["path"])
    return inverse_points(np.eye(4), displacement, affine)
