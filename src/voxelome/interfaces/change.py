"""Compare the lesions of a subject's visits: new, grown, shrunk, vanished."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.bids.names import bids_name, split_label, unit_entities, unit_folder
from voxelome.imageio import (
    Array,
    MaskArray,
    Volume,
    load_json,
    load_volume,
    save_text,
    save_volume,
    sidecar_path,
)
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.interfaces.delivery import output_uri
from voxelome.step import StepRecord, recording, use_threads

if TYPE_CHECKING:
    from voxelome.segmentation.change import Comparison

# Contrasts in which lesions are bright, the best first: they tell a change of the image from one of the mask.
BRIGHT = ("FLAIR", "T2w")


class CompareLesionsInputs(StepInputs):
    """Inputs of :class:`CompareLesions`."""

    name = traits.Str(mandatory=True, desc="name of the segmentation, such as lesion")
    midway = File(mandatory=True, desc="record of the common space of the visits")
    segmented = traits.List(
        File(), mandatory=True, desc="records with that segmentation, of the visits in their order"
    )
    out_dir = Directory(mandatory=True, desc="output dataset")


class CompareLesions(SimpleInterface):
    """Compare the lesions of a subject's visits: new, grown, shrunk, vanished."""

    input_spec = CompareLesionsInputs
    output_spec = StepOutputs

    def _run_interface(self, runtime: Any) -> Any:
        spec = self.inputs
        use_threads(spec.num_threads)
        midway = StepRecord.load(spec.midway)
        with recording("change", spec.unit, spec.record) as record:
            record.parameters = {"name": spec.name}
            visits = []
            for path in spec.segmented:
                visit = _visit(StepRecord.load(path), spec.name, midway)
                if visit is None:
                    session = StepRecord.load(path).unit
                    record.skip(
                        f"{spec.name} of {session}", "it has no such segmentation in the common space"
                    )
                else:
                    visits.append(visit)
            if len(visits) < 2:
                record.skip(f"change of {spec.name}", "fewer than two visits have it")
            for first, second in pairwise(visits):
                _compare(first, second, spec, midway, record)
        self._results["record"] = spec.record
        return runtime


@dataclass(frozen=True)
class _Visit:
    """Lesions of a visit in the common space."""

    unit: str
    session: str
    path: str
    lesions: MaskArray
    grid: Volume

    def file(self, out_dir: Path, suffix: str, extension: str, desc: str) -> Path:
        entities = unit_entities(self.unit)
        folder = out_dir / unit_folder(entities["subject"], entities.get("session")) / "anat"
        return folder / bids_name({**entities, "space": "midway", "desc": desc}, suffix, extension)


def _visit(record: StepRecord, name: str, midway: StepRecord) -> _Visit | None:
    from voxelome.segmentation.carry import carry_labels

    session = f"ses-{unit_entities(record.unit).get('session', '')}"
    mask, transform = midway.path("midway-mask", visit=session), midway.path("matrix", visit=session)
    if mask is None or transform is None:
        return None
    # The transform leads to the reference: labels on the grid of another image do not follow it.
    space = split_label(transform.name.split(".")[0])[0]["from"]
    found = record.find("labels", name=name, space=space)
    if not found:
        return None
    labels, grid = load_volume(found[0]["path"], dtype=None), load_volume(mask, dtype=None)
    matrix = np.array(load_json(sidecar_path(transform))["Matrix"])
    whole = (labels.data > 0).astype(np.int16)
    carried = (
        carry_labels(whole, labels.affine, grid.data.shape, grid.affine, matrix) if whole.any() else None
    )
    lesions: MaskArray = np.zeros(grid.data.shape, dtype=bool) if carried is None else carried > 0
    return _Visit(record.unit, session, found[0]["path"], lesions, grid)


def _compare(first: _Visit, second: _Visit, spec: Any, midway: StepRecord, record: StepRecord) -> None:
    from voxelome.segmentation.change import MAP_NAMES, compare_visits

    result = compare_visits(first.lesions, second.lesions, first.grid.affine)
    pair, name = f"{first.session} to {second.session}", spec.name
    out_dir, desc = Path(spec.out_dir), "".join(c for c in name if c.isalnum())
    scores, contrast = _confirmed(result, first, second, midway, (out_dir, desc), record)
    rows = ["\t".join(_COLUMNS)]
    for group in result.groups:
        score = scores.get(group.number)
        cells = [
            group.number,
            group.change,
            group.first_ml,
            group.second_ml,
            group.beyond_ml,
            *group.centroid,
        ]
        rows.append("\t".join([*map(_cell, cells), "n/a" if score is None else f"{score:.2f}"]))
    table = save_text(second.file(out_dir, "lesions", ".tsv", f"{desc}Change"), "\n".join(rows) + "\n")
    record.add(table, "changes", name=name, pair=pair)
    out = second.file(out_dir, "dseg", ".nii.gz", f"{desc}Change")
    sources = [output_uri(visit.path) for visit in (first, second)]
    names = _save_map(out, result.map, first, MAP_NAMES, sources, f"change of {name} from {pair}")
    record.add(out, "change", name=name, pair=pair, visit=second.session, names=names)
    record.quality |= {f"{pair} {change}": count for change, count in result.counts.items() if count}
    record.quality |= {
        f"{pair} {first.session} volume": round(result.first_ml, 3),
        f"{pair} {second.session} volume": round(result.second_ml, 3),
    }
    counts = ", ".join(f"{count} {change}" for change, count in result.counts.items() if count)
    record.done.append(f"{name}, {pair}: {counts or 'no lesions at either visit'}.")
    if contrast:
        record.done.append(
            f"Changes were checked in {contrast}: the score is that of what was gained or lost."
        )
    else:
        record.skip(
            f"check of {pair} in the images", "not both visits have one contrast in which lesions are bright"
        )


_COLUMNS = (
    *("lesion", "change", "first_ml", "second_ml", "beyond_ml"),
    *("x_mm", "y_mm", "z_mm", "intensity_score"),
)


def _save_map(
    path: Path, labels: Array, visit: _Visit, names: dict[int, str], sources: list[str], what: str
) -> dict[str, str]:
    """Save a map of changes with the names of its values, and return them as a record holds them."""
    about = {
        "Sources": sources,
        "Description": what,
        "SpatialReference": "halfway between the references of all visits of the subject",
    }
    save_volume(path, labels, visit.grid.affine, about)
    lines = "".join(f"{value}\t{text}\n" for value, text in names.items())
    save_text(path.with_name(path.name.replace(".nii.gz", ".tsv")), "index\tname\n" + lines)
    return {str(value): text for value, text in names.items()}


def _confirmed(
    result: Comparison,
    first: _Visit,
    second: _Visit,
    midway: StepRecord,
    where: tuple[Path, str],
    record: StepRecord,
) -> tuple[dict[int, float], str]:
    """Score of each change in the images, and the contrast that told; none where no contrast is common.

    What changed in the images whatever the masks say is saved beside, under the folder and name `where`: a
    lesion that both masks miss shows.
    """
    from voxelome.segmentation.intensity_change import (
        BRIGHTER,
        DARKER,
        change_scores,
        changed_regions,
        score_change,
    )

    out_dir, desc = where
    for suffix in BRIGHT:
        paths = [_path(midway, visit.session, suffix) for visit in (first, second)]
        if not all(paths):
            continue
        one, other = (load_volume(path).data for path in paths)
        brain = (first.grid.data > 0) & (second.grid.data > 0) & (one != 0) & (other != 0)
        spacing = first.grid.spacing[:3]
        found = score_change(one, other, brain, spacing, first.lesions | second.lesions)
        name = f"{first.session} to {second.session}"
        out = second.file(out_dir, "dseg", ".nii.gz", f"{desc}{suffix}Change")
        names = {BRIGHTER: "brighter", DARKER: "darker"}
        sources = [output_uri(path) for path in paths]
        regions = changed_regions(found, brain, spacing)
        kept = _save_map(out, regions, first, names, sources, f"change of {suffix} from {name}")
        record.add(out, "change", name=suffix, pair=name, visit=second.session, names=kept)
        return change_scores(result, found), suffix
    return {}, ""


def _path(midway: StepRecord, session: str, suffix: str) -> str:
    """Path of the first image of a contrast in the common space; empty where there is none."""
    images = midway.find("midway", visit=session)
    return next((item["path"] for item in images if split_label(item["image"])[1] == suffix), "")


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
