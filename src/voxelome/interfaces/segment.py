"""Carry the masks that the user gives to the grid of every image of a visit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.bids.names import bids_name, space_label, split_label, unit_entities
from voxelome.errors import InputError, blame
from voxelome.imageio import Affine, Array, Volume, save_text, save_volume
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.interfaces.carried_map import carry_map
from voxelome.interfaces.masks import home_of, load_labels, matrix_between
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
        self.reference = reference_of(prepared)
        grids = prepared_grids(prepared, self.reference)
        with recording("segment", spec.unit, spec.record) as record:
            if not spec.masks:
                record.done.append("No masks were given for this visit.")
            for path, name, table in zip(spec.masks, spec.names, spec.label_tables, strict=True):
                self._carry(Path(path), name, table, grids, registered, record)
            for path, label in zip(spec.maps, spec.map_labels, strict=True):
                try:
                    with blame(path):
                        carry_map(Path(path), label, spec, grids, self.reference, registered, record)
                except InputError as error:
                    record.reject(error)
        self._results["record"] = spec.record
        return runtime

    def _carry(
        self,
        path: Path,
        name: str,
        table: str,
        grids: dict[str, Volume],
        registered: StepRecord,
        record: StepRecord,
    ) -> None:
        from voxelome.segmentation.carry import carry_labels, label_volumes, same_grid

        labels, affine = load_labels(path, self.inputs.affine)
        instead = self.reference if self.inputs.other_grids == "resample" else ""
        home = home_of(path, labels, affine, grids, instead)
        own = grids.get(home)
        resampled = own is None or not same_grid(labels.shape, affine, own.data.shape, own.affine)
        if resampled:
            record.warnings.append(f"{name}: on no image's grid; resampled by its header to that of {home}.")
        mask = _Mask(name, path, labels, affine, label_names(path, name, table, labels), home)
        targets = [self.reference] if self.reference else []
        for target in dict.fromkeys([*targets, *self.inputs.gradient_echoes]):
            if target not in grids:
                record.skip(f"{name} on {target}", "the image cannot be used")
                continue
            grid = grids[target]
            matrix = matrix_between(registered, self.reference, target, home)
            carried = carry_labels(labels, affine, grid.data.shape, grid.affine, matrix)
            method = "copied" if target == home else f"carried from {home} with the visit's transforms"
            method = f"resampled by its header, {method}" if resampled else method
            key = split_label(target)[1] if target == self.reference else target
            about = {"Method": method, "SpatialReference": f"the visit's {target}"}
            out = self._save(mask, space_label(key), carried, grid.affine, about)
            record.add(out, "labels", name=name, space=key, names=mask.table)
            lost = [label for index, label in mask.names.items() if not (carried == index).any()]
            record.warnings += [
                f"{name}: {label} has no voxel left on the grid of {target}." for label in lost
            ]
        self._to_templates(mask, registered, record)
        volumes = label_volumes(labels, affine)
        record.quality |= {
            f"{name} {mask.names[index]} (ml)": round(value, 3) for index, value in volumes.items()
        }
        record.done.append(f"{name}: {len(mask.names)} label(s) carried from the grid of {home}.")

    def _to_templates(self, mask: _Mask, registered: StepRecord, record: StepRecord) -> None:
        """Carry labels from where they were drawn to every template space, in one interpolation."""
        from voxelome.registration.resample import load_itk_warp, resample

        for item in registered.find("warp"):
            displacement, affine = load_itk_warp(item["path"])
            carried = resample(
                mask.labels,
                mask.affine,
                displacement.shape[:3],
                affine,
                matrix=matrix_between(registered, self.reference, self.reference, mask.home),
                displacement=displacement,
                order="label",
            )
            about = {"Method": f"carried from {mask.home}", "SpatialReference": item["space"]}
            out = self._save(mask, item["space"], carried, affine, about)
            record.add(out, "template-labels", name=mask.name, space=item["space"], names=mask.table)

    def _save(self, mask: _Mask, space: str, labels: Array, affine: Affine, about: dict[str, str]) -> Path:
        entities = {"space": space, "desc": re.sub("[^A-Za-z0-9]", "", mask.name)}
        name = bids_name({**unit_entities(self.inputs.unit), **entities}, "dseg", ".nii.gz")
        out = Path(self.inputs.out_dir) / name
        source = f"bids:masks:{'/'.join(mask.path.parts[-3:])}"
        save_volume(out, labels, affine, {"Sources": [source], **about})
        rows = "".join(f"{index}\t{label}\n" for index, label in sorted(mask.names.items()))
        save_text(out.with_name(out.name.replace(".nii.gz", ".tsv")), "index\tname\n" + rows)
        return out


@dataclass(frozen=True)
class _Mask:
    """A mask that the user gives: labels in RAS+ order, their names, the image that it was drawn on."""

    name: str
    path: Path
    labels: Array
    affine: Affine
    names: dict[int, str]
    home: str

    @property
    def table(self) -> dict[str, str]:
        """Names of the labels as a record holds them."""
        return {str(index): label for index, label in self.names.items()}


def label_names(path: Path, name: str, table: str, labels: Any) -> dict[int, str]:
    """Name of every label value that occurs, from its table where there is one."""
    present = [int(value) for value in np.unique(labels) if value != 0]
    if table == "n/a":
        return {present[0]: name} if len(present) == 1 else {value: f"{name}{value}" for value in present}
    import pandas as pd

    rows = pd.read_csv(table, sep="\t", dtype=str)
    if not {"index", "name"} <= set(rows.columns):
        raise InputError(table, "has no columns index and name", "add them, tab separated")
    known = {int(index): str(label) for index, label in zip(rows["index"], rows["name"], strict=True)}
    unknown = [value for value in present if value not in known]
    if unknown:
        raise InputError(
            path, f"holds label {unknown[0]}, which {table} does not name", "add it to the table"
        )
    return {value: known[value] for value in present}
