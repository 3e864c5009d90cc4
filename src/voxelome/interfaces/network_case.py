"""Classification and regression networks: a value for the case, its spread, and what it rests on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxelome.bids.description import source_uri
from voxelome.bids.names import bids_name, space_label, split_label, unit_entities
from voxelome.columns import OF_NETWORK
from voxelome.imageio import save_json, save_text, save_volume
from voxelome.interfaces.feature_tables import feature_table
from voxelome.interfaces.measure import Row
from voxelome.interfaces.network_inputs import NetworkInputs
from voxelome.radiomics.results import FeatureValue
from voxelome.segmentation.cards import card_digest
from voxelome.segmentation.spec import NetworkSpec
from voxelome.step import StepRecord

if TYPE_CHECKING:
    from voxelome.segmentation.cases import CasePrediction

CLASS = "network"


def judge_case(
    network: NetworkSpec,
    card: dict[str, Any],
    members: list[Any],
    inputs: NetworkInputs,
    spec: Any,
    record: StepRecord,
) -> None:
    """Save what a network says of a visit as rows of a feature table, and the map of what it rests on."""
    from voxelome.segmentation.cases import predict_case
    from voxelome.segmentation.saliency import Occlusion, occlusion_map

    # A probability near 1 hardly moves when a part is covered: its log odds do.
    odds = network.task == "classification"
    images = (inputs.volumes, inputs.affine, inputs.brain)
    with inputs.blamed():
        found = predict_case(*images, network, members)
        output = int(found.values.argmax())
        saliency = occlusion_map(*images, network, members, output, Occlusion(odds=odds))
    rows = _rows(network, found, inputs)
    entities = unit_entities(spec.unit)
    sources = {"Sources": [source_uri(path) for path in dict.fromkeys(inputs.sources)]}
    out = Path(spec.out_dir) / bids_name({**entities, "desc": network.name}, "features", ".tsv")
    save_text(out, feature_table(entities, rows))
    save_json(out.with_suffix(".json"), {**sources, **_about(network, card, spec), **_attention(found)})
    record.add(out, "features", desc=network.name)
    key = split_label(inputs.home)[1]
    named = {**entities, "space": space_label(key), "desc": network.name}
    out = Path(spec.out_dir) / bids_name(named, "saliencymap", ".nii.gz")
    changed = f"{'log odds of ' if odds else ''}{_output_name(network, output)}"
    text = f"fall of {changed} where a box is covered; positive where it speaks for it"
    save_volume(out, saliency.change, inputs.affine, {**sources, "Description": text})
    record.add(out, "saliency", name=network.name, space=key, source=inputs.home_source, form=inputs.form)
    record.warnings += [f"{network.name}: {note}" for note in found.notes]
    for row in rows:
        value = row.value.value
        if value is not None:
            record.quality[f"{network.name} {row.value.feature}"] = round(value, 4)
    record.done.append(
        f"{network.name}: {len(found.passes)} passes over varied images; the spread is their SD."
    )


def _attention(found: CasePrediction) -> dict[str, Any]:
    """Share of each slice in the verdict, of a network that says so."""
    if found.attention is None:
        return {}
    pairs = zip(found.slices, found.attention, strict=True)
    rows = [
        {"mm": [round(float(x), 1) for x in place], "share": round(float(share), 4)} for place, share in pairs
    ]
    return {"Attention": rows}


def _rows(network: NetworkSpec, found: CasePrediction, inputs: NetworkInputs) -> list[Row]:
    image = "+".join(label for label in inputs.labels if label)
    rows = []
    for index, (value, sd) in enumerate(zip(found.values, found.sd, strict=True)):
        unit = network.unit if network.task == "regression" else "1"
        name = _output_name(network, index)
        for feature, number in ((name, value), (f"{name}_sd", sd)):
            rows.append(
                Row(
                    image,
                    "image",
                    FeatureValue("original", CLASS, f"{network.name}_{feature}", float(number), unit, ""),
                )
            )
    return rows


def _output_name(network: NetworkSpec, index: int) -> str:
    """Name of a number that the network gives."""
    return network.outcome if network.task == "regression" else list(network.labels.values())[index]


def _about(network: NetworkSpec, card: dict[str, Any], spec: Any) -> dict[str, Any]:
    """Data dictionary of the table."""
    names = [_output_name(network, index) for index in range(network.outputs)]
    kind = "Value" if network.task == "regression" else "Probability of the class"
    features = {}
    for name in names:
        features[f"{network.name}_{name}"] = {"Description": f"{kind} {name}, mean of the passes"}
        features[f"{network.name}_{name}_sd"] = {
            "Description": f"Standard deviation of {name} over varied images"
        }
    return {
        "Description": OF_NETWORK.format(network.name),
        "Software": f"{network.name} {card['sha256'][card['members'][0]][:12]}",
        # A model of these values refuses those of another network of the same name.
        "Settings": {
            "members": len(network.members),
            "network": card_digest(Path(spec.models_dir), spec.model),
        },
        "Features": {CLASS: features},
        "NotFor": card["not_for"],
    }
