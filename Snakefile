"""voxelome: from a BIDS dataset of brain MRI to maps, features, models and reports."""

from snakemake.utils import min_version, validate

min_version("9.20")


configfile: workflow.source_path("config/config.yaml")


validate(config, "config/schemas/config.yaml", set_default=False)


workdir: config["work_dir"]


include: "rules/common.smk"
include: "rules/preprocess.smk"
include: "rules/register.smk"
include: "rules/qsm.smk"
include: "rules/segment.smk"
include: "rules/radiomics.smk"
include: "rules/model.smk"
include: "rules/report.smk"


localrules:
    all,
    participant,
    group,
    cohort,


rule all:
    default_target: True
    input:
        lambda wildcards: participant_targets(PLAN, WANTED, OUT_DIR),
        GROUP_TARGETS,


rule participant:
    input:
        lambda wildcards: participant_targets(PLAN, WANTED, OUT_DIR),


rule group:
    input:
        GROUP_TARGETS,
