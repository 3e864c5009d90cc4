"""What the rules share: the plan, the names of records, code digests. No rule is defined here."""

import json
import os
import shlex
import sys
from functools import cache
from pathlib import Path

from snakemake.settings.types import DeploymentMethod

from voxelome.bids.description import dataset_name
from voxelome.bids.image_settings import image_settings, taught_by
from voxelome.bids.inventory import load_inventory
from voxelome.bids.mounts import apptainer_binds, mounts, tell_apptainer
from voxelome.bids.plan import load_plan
from voxelome.bids.spaces import parse_spaces
from voxelome.bids.targets import (
    BRAIN_MODEL,
    analysis_pages,
    describe_visits,
    fold_records,
    group_targets,
    jobs_of,
    midway_visits,
    model_records,
    needs_brain_model,
    participant_targets,
    records_of,
    segmentation_record,
    segmentations,
    subject_records,
    unit_records,
    wanted_stages,
)
from voxelome.imageio import save_text
from voxelome.images import (
    CHECKED_VARIABLE,
    STEPS,
    WORKFLOW_VARIABLE,
    check_images,
    default_images_dir,
    image_names,
    needed_images,
    workflow_code,
)
from voxelome.provenance import code_digest, file_digest, sessions_digest
from voxelome.segmentation.cards import (
    card_digest,
    default_models_dir,
    load_card,
    works_on_ct,
)

BIDS_DIR = Path(config["bids_dir"])
OUT_DIR = Path(config["out_dir"])
# Read as settings elsewhere, too: what is bound in images is worked out of them.
config["models_dir"] = config["models_dir"] or str(default_models_dir())
SCRIPTS = str(Path(workflow.basedir) / "scripts")
CONTAINERS = image_names(Path(config["images_dir"] or default_images_dir()))

DERIVATIVES = {name: Path(path) for name, path in config["derivatives"].items()}
# What needs all of it stands in functions: a process that does one job of a cluster reads its own subject.
PLAN = load_plan(
    load_inventory(Path("inventory")),
    BIDS_DIR,
    DERIVATIVES,
    # Subjects that voxelome knows to be finished are not planned.
    participants=config["planned"] or config["participants"],
    sessions=config["sessions"],
    maps=config["maps"],
)
DATASET_NAME = dataset_name(BIDS_DIR)
ANALYSES = {
    item["name"]: {"random_seed": config["random_seed"], **item}
    for item in config["analyses"]
}
PEOPLE_DIGEST = (
    file_digest(BIDS_DIR / "participants.tsv") + sessions_digest(BIDS_DIR)
    if ANALYSES
    else ""
)
WANTED = wanted_stages(config)
MODELS_DIR = Path(config["models_dir"])
FUSIONS = {item["name"]: item for item in config["segment"]["fusions"]}
# What regions and images to measure come from.
MEASURED_STAGES = ["register", "qsm", "segment", *segmentations(config)]
GROUP_TARGETS = group_targets(ANALYSES, WANTED, OUT_DIR)

TEMPLATE_FILES = [
    path
    for space in parse_spaces(config["register"]["output_spaces"])
    for path in space.files
]

LANDMARK_FILES = [Path(path) for path in [config["register"]["landmarks"]] if path]

# What is measured, and how, for radiomics and robustness alike.
MEASURED = shlex.join(
    [
        f"--engine={config['radiomics']['engine']}",
        f"--bin-count={config['radiomics']['bin_count']}",
        f"--bin-width={config['radiomics']['bin_width']}",
        f"--minimum-voxels={config['radiomics']['minimum_voxels']}",
        f"--regions={json.dumps(config['radiomics']['regions'])}",
        *("--rois", *config["radiomics"]["rois"]),
        *("--images", *config["radiomics"]["images"]),
    ]
)
RADIOMICS_FILES = [Path(path) for path in [config["radiomics"]["parameters"]] if path]

# Of each module of voxelome.interfaces, in the environment that it runs in; that of radiomics follows the engine.
CODE = {
    step: code_digest(f"voxelome.interfaces.{step}", stage)
    for stage, steps in STEPS.items()
    for step in steps
}
RADIOMICS = "radiomics-ibsi" if config["radiomics"]["engine"] == "mirp" else "radiomics"
CODE["radiomics"] = code_digest("voxelome.interfaces.radiomics", RADIOMICS)

# The steps' scripts are found by their names: an image holds them. Without images or conda environments they run with
# the Python that runs Snakemake. A prefix, and no parameter: where things and models lie must rerun nothing.
WHERE = f"export VOXELOME_MODELS_DIR={shlex.quote(str(MODELS_DIR))}; "
if DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method:
    if workflow.is_main_process:
        # Called by hand: which targets are asked for is not known yet.
        if CHECKED_VARIABLE not in os.environ:
            check_images(CONTAINERS, needed_images(config))
        # A folder that is absent when a container starts cannot be bound.
        OUT_DIR.mkdir(parents=True, exist_ok=True)
        # A job of a cluster reads this in place of the whole plan.
        save_text(Path("binds.txt"), apptainer_binds(mounts(config, PLAN)))
    tell_apptainer(Path("binds.txt").read_text(encoding="utf-8"))
    WHERE += f"export {WORKFLOW_VARIABLE}={shlex.quote(workflow_code())}; "
elif workflow.deployment_settings.deployment_method:
    WHERE += f'export PATH="$PATH":{shlex.quote(SCRIPTS)}; '
else:
    WHERE += f'export PATH={shlex.quote(SCRIPTS)}:{shlex.quote(str(Path(sys.executable).parent))}:"$PATH"; '
# Braces are Snakemake's own.
shell.prefix(WHERE.replace("{", "{{").replace("}", "}}"))


wildcard_constraints:
    unit=r"sub-[A-Za-z0-9+]+(_ses-[A-Za-z0-9+]+)?",
    subject=r"[A-Za-z0-9+]+",
    label=r"[A-Za-z0-9+_-]+",
    analysis=r"[A-Za-z0-9_-]+",
    part=r"[0-9]+",
    model=r"[A-Za-z][A-Za-z0-9]*",
    fusion=r"[A-Za-z][A-Za-z0-9]*",
    compared=r"[A-Za-z][A-Za-z0-9-]*",


def unit_of(wildcards):
    """Give the unit that a job works on."""
    return PLAN[wildcards.unit]


def acquisition_of(wildcards):
    """Give the gradient-echo acquisition that a job works on."""
    return PLAN[wildcards.unit].gradient_echo(wildcards.label)


def anat_of(wildcards):
    """Give the folder of a visit's images in the output."""
    return OUT_DIR / PLAN[wildcards.unit].folder / "anat"


def visits_of(wildcards):
    """Give the visits of one subject."""
    return PLAN.visits(wildcards.subject)


def lesions_of(wildcards):
    """Give the masks of a visit that are left out where brain and template are compared."""
    return unit_of(wildcards).lesions(config["register"]["lesion_masks"])


@cache
def model_digest(name):
    """Give the digest of a model, whose card is read once for all visits."""
    return card_digest(MODELS_DIR, name)


@cache
def of_ct(model):
    """Say whether a network works on CT."""
    return works_on_ct(load_card(MODELS_DIR, model))


def network_records(wildcards, stage):
    """Give the records of a stage that a network reads: none where it works on CT."""
    stages = [] if of_ct(wildcards.model) else [stage]
    return unit_records(unit_of(wildcards), stages)


def network_cts(wildcards):
    """Give the CT that a network reads: none where it works on MRI."""
    return unit_of(wildcards).cts if of_ct(wildcards.model) else ()


def fused_records(wildcards):
    """Give the records that hold what a fusion is made of."""
    names = FUSIONS[wildcards.fusion]["of"]
    return sorted(
        {
            segmentation_record(unit_of(wildcards), name, MEASURED_STAGES)
            for name in names
        }
    )


def midway_records(wildcards, stage):
    """Give the records of a stage of the visits that one subject's midway space is made of."""
    return [
        f"steps/{unit.name}/{stage}.json"
        for unit in midway_visits(visits_of(wildcards))
    ]


def group_units():
    """Give the visits that the group level takes."""
    return [PLAN[name] for name in PLAN if name not in config["left_out"]]


def robustness_records(wildcards):
    """Give the records of repeated measurements of the group's visits."""
    stages = [stage for stage in WANTED if stage == "robustness"]
    return records_of(group_units(), stages) if stages else []


def memory(megabytes):
    """Give a memory request that grows when a job is tried again."""
    return lambda wildcards, attempt: megabytes * attempt
