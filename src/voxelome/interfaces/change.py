"""Compare the lesions of a subject's visits: new, grown, shrunk, vanished."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import Directory, File, SimpleInterface, traits

from voxelome.bids.names import bids_name, entity_value, unit_entities, unit_folder
from voxelome.errors import DataError
from voxelome.imageio import Array, MaskArray, Volume, load_volume, save_volume
from voxelome.interfaces.base import StepInputs, StepOutputs
from voxelome.interfaces.delivery import output_uri
from voxelome.interfaces.network_inputs import is_input
from voxelome.interfaces.tables import save_label_names, save_table
from voxelome.segmentation.spec import InputSpec
from voxelome.step import StepRecord, recording, use_threads

if TYPE_CHECKING:
    from voxelome.segmentation.change import Comparison, Group

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
    mask, transforms = midway.path("midway-mask", visit=session), midway.find("matrix", visit=session)
    if mask is None or not transforms:
        return None
    # The transform leads to the reference: labels on the grid of another image do not follow it.
    found = record.find("labels", name=name, space=transforms[0]["space"])
    if not found:
        return None
    labels, grid = load_volume(found[0]["path"], dtype=None), load_volume(mask, dtype=None)
    matrix = np.array(transforms[0]["matrix"])
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
    out_dir, desc = Path(spec.out_dir), entity_value(name)
    scores, contrast = _confirmed(result, first, second, midway, (out_dir, desc), record)
    rows = [_row(group, scores.get(group.number)) for group in result.groups]
    table = save_table(second.file(out_dir, "lesions", ".tsv", f"{desc}Change"), _COLUMNS, rows)
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


def _row(group: Group, score: float | None) -> dict[str, object]:
    """A row of the table of lesions; columns as in :data:`_COLUMNS`."""
    cells = (
        group.number,
        group.change,
        group.first_ml,
        group.second_ml,
        group.beyond_ml,
        *group.centroid,
        score,
    )
    return dict(zip(_COLUMNS, cells, strict=True))


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
    save_label_names(path, names)
    return {str(value): text for value, text in names.items()}


def _confirmed(
    result: Comparison,
    first: _Visit,
    second: _Visit,
    midway: StepRecord,
    where: tuple[Path, str],
    record: StepRecord,
) -> tuple[dict[int, float], str]:
    """Score of each change in the images, and their contrast; none where they cannot tell, which is noted.

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
    pair = f"{first.session} to {second.session}"
    suffix, paths = _common_images(midway, first.session, second.session)
    if not paths:
        why = "not both visits have one contrast in which lesions are bright"
        record.skip(f"check of {pair} in the images", why)
        return {}, ""
    one, other = (load_volume(path).data for path in paths)
    brain = (first.grid.data > 0) & (second.grid.data > 0) & (one != 0) & (other != 0)
    spacing = first.grid.spacing[:3]
    try:
        found = score_change(one, other, brain, spacing, first.lesions | second.lesions)
    except DataError as error:
        record.skip(f"check of {pair} in the images", f"in {suffix}, {error.problem}")
        return {}, ""
    out = second.file(out_dir, "dseg", ".nii.gz", f"{desc}{suffix}Change")
    sources = [output_uri(path) for path in paths]
    regions = changed_regions(found, brain, spacing)
    names = {BRIGHTER: "brighter", DARKER: "darker"}
    kept = _save_map(out, regions, first, names, sources, f"change of {suffix} from {pair}")
    record.add(out, "image-change", name=suffix, pair=pair, visit=second.session, names=kept)
    return change_scores(result, found), suffix


def _common_images(midway: StepRecord, *sessions: str) -> tuple[str, list[str]]:
    """Contrast in which changes are looked for, and the image of each visit; of none where not all have one.

    What a contrast agent brightens is no change: either all of them are after it, or none is.
    """
    for suffix, enhanced in product(BRIGHT, (False, True)):
        wanted = InputSpec(suffix, enhanced)
        held = [midway.find("midway", visit=session) for session in sessions]
        found = [[item["path"] for item in items if is_input(item["image"], wanted)] for items in held]
        if all(found):
            return suffix, [paths[0] for paths in found]
    return "", []
