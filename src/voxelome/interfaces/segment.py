"""Carry the masks that the user gives to the grid of every image of a visit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.errors import InputError, blame
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.interfaces.carried_map import carry_map
from voxelome.interfaces.delivery import Delivery, LabelImage
from voxelome.interfaces.label_table import read_label_table
from voxelome.interfaces.masks import home_of, load_labels
from voxelome.interfaces.prepared import prepared_grids, reference_of
from voxelome.step import StepRecord, recording, use_threads


class SegmentInputs(StepInputs):
    """Inputs of :class:`CarryMasks`."""

    masks = traits.List(
        File(), value=[], usedefault=True, desc="label images, each on the grid of one of the visit's images"
    )
    names = traits.List(
        traits.Str(), value=[], usedefault=True, desc="name of each label image, such as tumor"
    )
    label_tables = traits.List(
        traits.Str(),
        value=[],
        usedefault=True,
        desc="TSV with index and name of each label image; n/a if none",
    )
    maps = traits.List(
        File(), value=[], usedefault=True, desc="quantitative maps, each on the grid of one of the images"
    )
    map_labels = traits.List(traits.Str(), value=[], usedefault=True, desc="name of each map, such as ADC")
    prepared = File(mandatory=True, desc="record of preprocess for this visit")
    registered = File(mandatory=True, desc="record of register for this visit")
    gradient_echoes = traits.List(
        traits.Str(),
        value=[],
        usedefault=True,
        desc="labels of gradient-echo acquisitions: masks go there too",
    )
    other_grids = traits.Enum(
        "refuse",
        "resample",
        usedefault=True,
        desc="masks on no image's grid: refuse them, or take them to lie where their header says",
    )
    affine = traits.Enum("auto", "sform", "qform", usedefault=True, desc="which of a header's affines counts")
    out_dir = Directory(mandatory=True, desc="anat folder of the visit in the output dataset")


class CarryMasks(SimpleInterface):
    """Carry the masks, and the maps, that the user gives to the images of a visit."""

    input_spec = SegmentInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        spec = self.inputs
        use_threads(spec.num_threads)
        prepared, registered = StepRecord.load(spec.prepared), StepRecord.load(spec.registered)
        reference = reference_of(prepared)
        grids = prepared_grids(prepared, reference)
        out_dir = Path(spec.out_dir)
        delivery = Delivery(spec.unit, out_dir, grids, reference, spec.gradient_echoes, registered)
        with recording("segment", spec.unit, spec.record) as record:
            if not spec.masks:
                record.done.append("No masks were given for this visit.")
            for path, name, table in zip(spec.masks, spec.names, spec.label_tables, strict=True):
                self._carry(Path(path), name, table, delivery, record)
            for path, label in zip(spec.maps, spec.map_labels, strict=True):
                try:
                    with blame(path):
                        carry_map(Path(path), label, spec, grids, reference, registered, record)
                except InputError as error:
                    record.reject(error)
        self._results["record"] = spec.record
        return runtime

    def _carry(self, path: Path, name: str, table: str, delivery: Delivery, record: StepRecord) -> None:
        from voxelome.segmentation.carry import same_grid

        labels, affine = load_labels(path, self.inputs.affine)
        grids = delivery.grids
        instead = delivery.reference if self.inputs.other_grids == "resample" else ""
        home = home_of(path, labels, affine, dict(grids), instead)
        own = grids.get(home)
        resampled = own is None or not same_grid(labels.shape, affine, own.data.shape, own.affine)
        if resampled:
            record.warnings.append(f"{name}: on no image's grid; resampled by its header to that of {home}.")
        names = label_names(path, name, table, labels)
        source = {"Sources": [f"bids:masks:{'/'.join(path.parts[-3:])}"]}
        how = "resampled by its header" if resampled else ""
        delivery.deliver(LabelImage(name, labels, affine, names, home, how, source), record)
        record.done.append(f"{name}: {len(names)} label(s) carried from the grid of {home}.")


def label_names(path: Path, name: str, table: str, labels: Any) -> dict[int, str]:
    """Name of every label value that occurs, from its table where there is one."""
    present = [int(value) for value in np.unique(labels) if value != 0]
    if table == "n/a":
        return {present[0]: name} if len(present) == 1 else {value: f"{name}{value}" for value in present}
    known = read_label_table(table)
    unknown = [value for value in present if value not in known]
    if unknown:
        raise InputError(
            path, f"holds label {unknown[0]}, which {table} does not name", "add it to the table"
        )
    return {value: known[value] for value in present}
