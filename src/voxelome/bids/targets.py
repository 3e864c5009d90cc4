"""Which files a run asks for: the records of the steps, and the reports.

Paths of records are relative to the work folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from voxelome.bids.plan import Unit, visits_by_subject

_VISIT_STAGES = ("preprocess", "register", "qsm", "segment", "radiomics")
# What a user asks for, and what a visit may have: robustness comes with the settings of radiomics.
STAGES = (*_VISIT_STAGES, "model", "report")
UNIT_STAGES = (*_VISIT_STAGES, "robustness")
# What a visit with nothing but CT does not have.
_MRI_STAGES = ("preprocess", "register", "qsm", "segment", "radiomics", "robustness")
# Stages that make, or measure, what a study names under segment; the group's table is made of measurements.
_SEGMENTING = {"segment", "radiomics", "model"}
BRAIN_MODEL = "deepbet"
# Parts of segment that a study names: each is a record of its own, called after its kind and its name.
NETWORK, FUSION, CHANGE = "network-", "fusion-", "change-"


def wanted_stages(config: Mapping[str, Any]) -> list[str]:
    """Return the stages of a run: those asked for, and what the settings of radiomics add to them."""
    stages, radiomics = list(config["stages"]), config["radiomics"]
    if "segment" in stages:
        stages += segmentations(config)
        if "register" in stages:
            stages += [CHANGE + name for name in config["segment"]["compare"]]
    if "radiomics" in stages:
        if radiomics["perturbations"]:
            stages.append("robustness")
        if radiomics["perturbations"] or radiomics["raters"] or radiomics["repeats"]:
            stages.append("reliability")
    return stages


def segmentations(config: Mapping[str, Any]) -> list[str]:
    """Names of the records of networks and fusions that a study has beside that of the masks given."""
    segment = config["segment"]
    fusions = [FUSION + item["name"] for item in segment["fusions"]]
    return [*(NETWORK + name for name in segment["models"]), *fusions]


def uses_segmentations(config: Mapping[str, Any]) -> bool:
    """Whether a run makes, or measures, what a study names under segment."""
    return not _SEGMENTING.isdisjoint(config["stages"])


def networks_needed(config: Mapping[str, Any]) -> list[str]:
    """Networks that a run takes."""
    return list(config["segment"]["models"]) if uses_segmentations(config) else []


def models_needed(config: Mapping[str, Any], units: Iterable[Unit]) -> list[str]:
    """Fetched models that a run over these visits takes: that of the brain, and networks."""
    brain = [BRAIN_MODEL] if any(needs_brain_model(config, unit) for unit in units) else []
    return [*brain, *networks_needed(config)]


def needs_brain_model(config: Mapping[str, Any], unit: Unit) -> bool:
    """Whether preprocess takes its network for a visit, unless that comes stripped or with a mask."""
    return bool(unit.reference) and config["preprocess"]["brain_extraction"] != "given"


def segmentation_record(unit: Unit, name: str, stages: Iterable[str]) -> str:
    """Record of a visit that holds the labels of this name: a network's, a fusion's, or the masks given."""
    own = [stage for stage in stages if stage in (NETWORK + name, FUSION + name)]
    return f"steps/{unit.name}/{own[0] if own else 'segment'}.json"


def unit_records(unit: Unit, stages: Iterable[str]) -> list[str]:
    """Records that these stages leave of one visit, in the order of the stages.

    A visit has one record of QSM a gradient-echo acquisition, and none where it has no acquisition. The
    stages that work on MRI leave none of a visit that has only CT.
    """
    found: list[str] = []
    stages = list(stages)
    parts = [stage for stage in stages if stage.startswith((NETWORK, FUSION))]
    order = [*UNIT_STAGES[:4], *parts, *UNIT_STAGES[4:]]
    for stage in order:
        if stage not in stages or (not unit.mri and stage.startswith((*_MRI_STAGES, FUSION))):
            continue
        names = [f"qsm-{item.label}" for item in unit.gradient_echoes] if stage == "qsm" else [stage]
        found += [f"steps/{unit.name}/{name}.json" for name in names]
    return found


def records_of(units: Iterable[Unit], stages: Iterable[str]) -> list[str]:
    """Records that these stages leave of several visits."""
    wanted = tuple(stages)
    return [path for unit in units for path in unit_records(unit, wanted)]


def midway_visits(units: Iterable[Unit]) -> list[Unit]:
    """Visits of one subject that are brought to a common space: two or more that have a reference."""
    visits = [unit for unit in units if unit.reference]
    return visits if len(visits) > 1 else []


def subject_records(units: Iterable[Unit], stages: Iterable[str]) -> list[str]:
    """Records of all visits of one subject, and of what is done with them together."""
    units, stages = list(units), list(stages)
    if "register" not in stages or not midway_visits(units):
        return records_of(units, stages)
    together = ["midway", *(stage for stage in stages if stage.startswith(CHANGE))]
    return records_of(units, stages) + [f"steps/sub-{units[0].subject}/{name}.json" for name in together]


def participant_targets(plan: Mapping[str, Unit], stages: Sequence[str], out_dir: Path) -> list[str]:
    """Files that the participant level makes."""
    subjects = visits_by_subject(plan)
    records = [record for units in subjects.values() for record in subject_records(units, stages)]
    if "report" not in stages:
        return records
    return records + [str(out_dir / f"sub-{subject}.html") for subject in subjects]


def model_records(analyses: Iterable[str], stages: Sequence[str]) -> list[str]:
    """Records of the feature table and of the analyses."""
    if "model" not in stages:
        return []
    reliability = ["steps/group/reliability.json"] if "reliability" in stages else []
    return [
        "steps/group/features.json",
        *reliability,
        *(f"steps/group/model-{name}.json" for name in analyses),
    ]


def jobs_of(analysis: Mapping[str, Any]) -> int:
    """Jobs among which the fits of an analysis are dealt out."""
    return int(analysis.get("jobs", 1))


def fold_records(name: str, analysis: Mapping[str, Any]) -> list[str]:
    """Records of the jobs that fit folds of an analysis; none where the analysis is one job."""
    jobs = jobs_of(analysis)
    return [f"steps/group/folds-{name}-{part}.json" for part in range(1, jobs + 1)] if jobs > 1 else []


def analysis_pages(analyses: Iterable[str], stages: Sequence[str], out_dir: Path) -> list[str]:
    """Pages of the analyses, which are written with the group's report."""
    return [str(out_dir / "group" / name / "report.html") for name in analyses if "model" in stages]


def group_targets(analyses: Iterable[str], stages: Sequence[str], out_dir: Path) -> list[str]:
    """Files that the group level makes."""
    reports = [str(out_dir / "group.html")] if "report" in stages else []
    return model_records(analyses, stages) + reports


def describe_visits(units: Iterable[Unit]) -> str:
    """What the plan says of each visit, as JSON: what it has, what is not possible and why, broken files."""
    return json.dumps(
        {
            unit.name: {
                "images": [*unit.image_labels, *(item.label for item in unit.cts)],
                "masks": [mask.name for mask in unit.masks],
                "skipped": unit.skipped,
                "problems": unit.problems,
            }
            for unit in units
        },
        sort_keys=True,
    )
