"""Carry the masks that the user gives to the grid of every image of a visit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.bids.names import bids_name, unit_entities
from voxelome.errors import InputError, blame
from voxelome.imageio import Volume, load_volume, save_text, save_volume
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.orientation import to_canonical
from voxelome.step import StepRecord, recording, use_threads


class SegmentInputs(StepInputs):
    """Inputs of :class:`CarryMasks`."""

    masks = traits.List(File(), desc="label images, each on the grid of one of the visit's images")
    names = traits.List(traits.Str(), desc="name of each label image, such as tumor")
    label_tables = traits.List(traits.Str(), desc="TSV with index and name of each label image; n/a if none")
    prepared = File(mandatory=True, desc="record of preprocess for this visit")
    registered = File(mandatory=True, desc="record of register for this visit")
    reference = traits.Str("", usedefault=True, desc="label of the reference image; empty if there is none")
    gradient_echoes = traits.List(
        traits.Str(), desc="labels of gradient-echo acquisitions: masks go there too"
    )
    out_dir = Directory(mandatory=True, desc="anat folder of the visit in the output dataset")


class CarryMasks(SimpleInterface):
    """Carry the masks that the user gives to the grid of every image of a visit."""

    input_spec = SegmentInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        spec = self.inputs
        use_threads(spec.num_threads)
        prepared, registered = StepRecord.load(spec.prepared), StepRecord.load(spec.registered)
        grids = {item["image"]: load_volume(item["path"]) for item in prepared.find("prepared")}
        with recording("segment", spec.unit, spec.record) as record:
            if not spec.masks:
                record.done.append("No masks were given for this visit.")
            for path, name, table in zip(spec.masks, spec.names, spec.label_tables, strict=True):
                self._carry(Path(path), name, table, grids, registered, record)
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
        from voxelome.segmentation.carry import carry_labels, check_labels, label_volumes

        volume = load_volume(path, dtype=None)
        with blame(path):
            labels = check_labels(volume.data)
        labels, affine = to_canonical(labels, volume.affine)
        home = self._home(path, labels, affine, grids)
        names = label_names(path, name, table, labels)
        targets = [self.inputs.reference] if self.inputs.reference else []
        for target in dict.fromkeys([*targets, *self.inputs.gradient_echoes]):
            grid = grids[target]
            matrix = matrix_between(registered, self.inputs.reference, target, home)
            carried = carry_labels(labels, affine, grid.data.shape, grid.affine, matrix)
            self._save(name, target, carried, grid, names, home, path, record)
        volumes = label_volumes(labels, affine)
        record.quality |= {f"{name} {names[index]} (ml)": round(value, 3) for index, value in volumes.items()}
        record.done.append(f"{name}: {len(names)} label(s) carried from the grid of {home}.")

    def _home(self, path: Path, labels: Any, affine: Any, grids: dict[str, Volume]) -> str:
        """Name of the image on whose grid the mask was drawn, the reference before the others."""
        from voxelome.segmentation.carry import same_grid

        order = sorted(grids, key=lambda label: label != self.inputs.reference)
        for label in order:
            if same_grid(labels.shape, affine, grids[label].data.shape, grids[label].affine):
                return label
        raise InputError(
            path,
            f"its grid {labels.shape} is that of no image of this visit ({', '.join(order)})",
            "resample it to the image that it was drawn on",
        )

    def _save(
        self,
        name: str,
        target: str,
        labels: Any,
        grid: Volume,
        names: dict[int, str],
        home: str,
        path: Path,
        record: StepRecord,
    ) -> None:
        space = (
            target.rsplit("_", maxsplit=1)[-1]
            if target == self.inputs.reference
            else target.replace("-", "").replace("_", "")
        )
        entities = {
            **unit_entities(self.inputs.unit),
            "space": space,
            "desc": re.sub("[^A-Za-z0-9]", "", name),
        }
        out = Path(self.inputs.out_dir) / bids_name(entities, "dseg", ".nii.gz")
        method = "copied" if target == home else f"carried from {home} with the visit's rigid transforms"
        save_volume(
            out,
            labels,
            grid.affine,
            {
                "Sources": [f"bids:masks:{'/'.join(path.parts[-3:])}"],
                "Method": method,
                "SpatialReference": f"the visit's {target}",
            },
        )
        rows = "".join(f"{index}\t{label}\n" for index, label in sorted(names.items()))
        save_text(out.with_name(out.name.replace(".nii.gz", ".tsv")), "index\tname\n" + rows)
        key = space if target == self.inputs.reference else target
        record.add(out, "labels", name=name, space=key, names={str(i): label for i, label in names.items()})
        lost = [label for index, label in names.items() if not (labels == index).any()]
        record.warnings += [f"{name}: {label} has no voxel left on the grid of {target}." for label in lost]


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


def matrix_between(registered: StepRecord, reference: str, target: str, home: str) -> Any:
    """4x4 matrix that takes a point of `target` to `home`, both in RAS mm."""

    def from_reference(label: str) -> Any:
        found = registered.find("matrix", image=label)
        return np.array(found[0]["matrix"]) if found else np.eye(4)

    # matrices in the record take a point of the reference to the image
    return from_reference(home) @ np.linalg.inv(from_reference(target))
