"""Fuse segmentations of several networks or raters into one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.bids.names import split_label
from voxelome.errors import InputError, blame
from voxelome.imageio import load_volume
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.interfaces.delivery import Delivery, LabelImage, output_uri
from voxelome.interfaces.prepared import prepared_grids, reference_of
from voxelome.step import StepRecord, recording, use_threads


class FuseInputs(StepInputs):
    """Inputs of :class:`FuseLabels`."""

    name = traits.Str(mandatory=True, desc="name of the result")
    of = traits.List(traits.Str(), mandatory=True, desc="names of the masks and networks to fuse")
    method = traits.Enum("majority", "staple", "simple", usedefault=True, desc="how they are fused")
    records = traits.List(
        File(), mandatory=True, desc="records of segment and of the networks for this visit"
    )
    prepared = File(mandatory=True, desc="record of preprocess for this visit")
    registered = File(mandatory=True, desc="record of register for this visit")
    gradient_echoes = traits.List(
        traits.Str(),
        value=[],
        usedefault=True,
        desc="labels of gradient-echo acquisitions: labels go there too",
    )
    out_dir = Directory(mandatory=True, desc="anat folder of the visit in the output dataset")


class FuseLabels(SimpleInterface):
    """Fuse segmentations of several networks or raters into one."""

    input_spec = FuseInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        spec = self.inputs
        use_threads(spec.num_threads)
        prepared, registered = StepRecord.load(spec.prepared), StepRecord.load(spec.registered)
        reference = reference_of(prepared)
        with recording("fusion", spec.unit, spec.record) as record:
            record.parameters = {"name": spec.name, "of": list(spec.of), "method": spec.method}
            found = labels_of(spec.records, spec.of, split_label(reference)[1])
            absent = [name for name in spec.of if name not in found]
            if absent:
                record.skip(f"{spec.name} with {', '.join(absent)}", "this visit has no such segmentation")
            if len(found) < 2:
                record.skip(spec.name, "fewer than two of its segmentations are there")
            else:
                grids = prepared_grids(prepared, reference)
                echoes = list(spec.gradient_echoes)
                delivery = Delivery(spec.unit, Path(spec.out_dir), grids, reference, echoes, registered)
                _fuse(found, spec, delivery, record)
        self._results["record"] = spec.record
        return runtime


def labels_of(records: list[str], names: list[str], space: str) -> dict[str, dict[str, Any]]:
    """Outputs of the role ``labels`` in a space, by their names, in the order of `names`."""
    outputs = {
        item["name"]: item for path in records for item in StepRecord.load(path).find("labels", space=space)
    }
    return {name: outputs[name] for name in names if name in outputs}


def _fuse(found: dict[str, dict[str, Any]], spec: Any, delivery: Delivery, record: StepRecord) -> None:
    from voxelome.segmentation.fusion import majority, simple, staple
    from voxelome.segmentation.parts import dice

    names = _names(found)
    volumes = {name: load_volume(item["path"], dtype=None) for name, item in found.items()}
    images = [volume.data for volume in volumes.values()]
    affine = next(iter(volumes.values())).affine
    with blame(f"segment: fusions, {spec.name}"):
        if spec.method == "majority":
            labels = majority(images)
        elif spec.method == "staple":
            consensus = staple(images)
            labels = consensus.labels
            record.parameters["iterations"] = consensus.iterations
        else:
            voted = simple(images)
            labels = voted.labels
            record.parameters["weights"] = {
                str(value): dict(zip(found, map(float, weights), strict=True))
                for value, weights in voted.weights.items()
            }
    source = {"Sources": [output_uri(item["path"]) for item in found.values()], "Fusion": spec.method}
    image = LabelImage(
        spec.name, labels, affine, names, delivery.reference, f"fused by {spec.method}", source
    )
    delivery.deliver(image, record)
    record.quality |= {
        f"Dice of {name} with {spec.name}": round(dice(data > 0, labels > 0, empty=1.0), 4)
        for name, data in zip(found, images, strict=True)
    }
    record.done.append(f"{spec.name}: {', '.join(found)} fused by {spec.method}.")


def _names(found: dict[str, dict[str, Any]]) -> dict[int, str]:
    """Name by label value, the same in all segmentations that name it."""
    values = sorted({int(value) for item in found.values() for value in item["names"]})
    names = {value: "label" if values == [1] else f"label{value}" for value in values}
    owner: dict[int, str] = {}
    for source, item in found.items():
        for text, name in item["names"].items():
            value = int(text)
            # A mask without a table is named after itself, which says nothing of its labels.
            if name in (source, f"{source}{value}"):
                continue
            if value in owner and names[value] != name:
                problem = f"label {value} is {names[value]} in {owner[value]} and {name} in {source}"
                raise InputError("segment: fusions", problem, "fuse segmentations with the same labels")
            names[value] = name
            owner.setdefault(value, source)
    return names
