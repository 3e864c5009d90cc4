# A command line holds 128 kB: the list of visits, of which there may be thousands, goes through a file.
rule cohort:
    output:
        units="steps/group/cohort.txt",
    log:
        "logs/group/cohort.log",
    params:
        units=lambda wildcards: "\n".join(unit.name for unit in group_units()),
    run:
        Path(output.units).write_text(params.units)


rule features:
    input:
        records=lambda wildcards: records_of(
            group_units(),
            [
                "radiomics",
                *(stage for stage in WANTED if stage.startswith("network-")),
            ],
        ),
        cohort="steps/group/cohort.txt",
    output:
        record="steps/group/features.json",
    log:
        "logs/group/features.log",
    benchmark:
        "benchmarks/group/features.tsv"
    conda:
        "../envs/model.yaml"
    container:
        CONTAINERS["model"]
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        code=CODE["features"],
        networks=[
            stage.removeprefix("network-")
            for stage in WANTED
            if stage.startswith("network-")
        ],
        made_with=lambda wildcards: json.dumps(image_settings(config), sort_keys=True),
        taught_by=lambda wildcards: taught_by(config, DATASET_NAME),
        out_dir=OUT_DIR / "group",
    shell:
        "assemble_features.py --unit group --cohort {input.cohort} --steps-dir steps --networks {params.networks}"
        " --made-with {params.made_with:q} --taught-by {params.taught_by:q}"
        " --out-dir {params.out_dir:q} --record {output.record} > {log} 2>&1"


rule reliability:
    input:
        records=robustness_records,
        cohort="steps/group/cohort.txt",
        features="steps/group/features.json",
    output:
        record="steps/group/reliability.json",
    log:
        "logs/group/reliability.log",
    benchmark:
        "benchmarks/group/reliability.tsv"
    conda:
        "../envs/model.yaml"
    container:
        CONTAINERS["model"]
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        code=CODE["reliability"],
        raters=json.dumps(config["radiomics"]["raters"]),
        repeats=config["radiomics"]["repeats"],
        out_dir=OUT_DIR / "group",
    shell:
        "assess_reliability.py --unit group --cohort {input.cohort} --steps-dir steps"
        " --features {input.features} --raters {params.raters:q} --repeats {params.repeats:q}"
        " --out-dir {params.out_dir:q} --record {output.record} > {log} 2>&1"


rule fold:
    input:
        features="steps/group/features.json",
        cohort="steps/group/cohort.txt",
        repeated=robustness_records,
        participants=ancient(BIDS_DIR / "participants.tsv"),
    output:
        record="steps/group/folds-{analysis}-{part}.json",
    log:
        "logs/group/folds-{analysis}-{part}.log",
    benchmark:
        "benchmarks/group/folds-{analysis}-{part}.tsv"
    conda:
        "../envs/model.yaml"
    container:
        CONTAINERS["model"]
    threads: config["omp_nthreads"]
    resources:
        mem_mb=memory(4000),
        runtime=120,
    params:
        code=CODE["fold"],
        content=PEOPLE_DIGEST,
        analysis=lambda wildcards: json.dumps(
            ANALYSES[wildcards.analysis], sort_keys=True
        ),
        parts=lambda wildcards: jobs_of(ANALYSES[wildcards.analysis]),
    shell:
        "fit_folds.py --unit {wildcards.analysis} --features {input.features}"
        " --cohort {input.cohort} --steps-dir steps"
        " --participants {input.participants:q} --analysis {params.analysis:q}"
        " --part {wildcards.part} --parts {params.parts}"
        " --record {output.record} --num-threads {threads} > {log} 2>&1"


rule model:
    input:
        features="steps/group/features.json",
        cohort="steps/group/cohort.txt",
        repeated=robustness_records,
        participants=ancient(BIDS_DIR / "participants.tsv"),
        folds=lambda wildcards: fold_records(
            wildcards.analysis, ANALYSES[wildcards.analysis]
        ),
    output:
        record="steps/group/model-{analysis}.json",
    log:
        "logs/group/model-{analysis}.log",
    benchmark:
        "benchmarks/group/model-{analysis}.tsv"
    conda:
        "../envs/model.yaml"
    container:
        CONTAINERS["model"]
    threads: config["omp_nthreads"]
    resources:
        mem_mb=memory(4000),
        runtime=120,
    params:
        code=CODE["model"],
        content=PEOPLE_DIGEST,
        analysis=lambda wildcards: json.dumps(
            ANALYSES[wildcards.analysis], sort_keys=True
        ),
        folds=lambda wildcards, input: (
            f"--folds {shlex.join(input.folds)}" if input.folds else ""
        ),
        out_dir=lambda wildcards: OUT_DIR / "group" / wildcards.analysis,
    shell:
        "fit_model.py --unit {wildcards.analysis} --features {input.features}"
        " --cohort {input.cohort} --steps-dir steps"
        " --participants {input.participants:q} --analysis {params.analysis:q} {params.folds}"
        " --out-dir {params.out_dir:q} --record {output.record} --num-threads {threads} > {log} 2>&1"
