rule report_subject:
    input:
        records=lambda wildcards: subject_records(visits_of(wildcards), WANTED),
        templates=ancient(TEMPLATE_FILES),
    output:
        report=OUT_DIR / "sub-{subject}.html",
    log:
        "logs/sub-{subject}/report.log",
    benchmark:
        "benchmarks/sub-{subject}/report.tsv"
    conda:
        "../envs/report.yaml"
    container:
        CONTAINERS["report"]
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        code=CODE["report"],
        visits=lambda wildcards: describe_visits(visits_of(wildcards)),
        dataset=DATASET_NAME,
        spaces=config["register"]["output_spaces"],
    shell:
        "report_subject.py --subject {wildcards.subject} --dataset {params.dataset:q}"
        " --visits {params.visits:q} --records {input.records} --spaces {params.spaces:q}"
        " --report {output.report:q} > {log} 2>&1"


rule report_group:
    input:
        records=records_of((PLAN[name] for name in COHORT), WANTED),
        models=model_records(ANALYSES, WANTED),
        cohort="steps/group/cohort.txt",
    output:
        report=OUT_DIR / "group.html",
        analyses=analysis_pages(ANALYSES, WANTED, OUT_DIR),
    log:
        "logs/group/report.log",
    benchmark:
        "benchmarks/group/report.tsv"
    conda:
        "../envs/report.yaml"
    container:
        CONTAINERS["report"]
    resources:
        mem_mb=memory(2000),
        runtime=30,
    params:
        code=CODE["report"],
        dataset=DATASET_NAME,
        left_out=json.dumps(config["left_out"], sort_keys=True),
        processing=json.dumps(
            {stage: config[stage] for stage in ("preprocess", "register")},
            sort_keys=True,
        ),
    shell:
        "report_group.py --dataset {params.dataset:q} --cohort {input.cohort} --steps-dir steps"
        " --models {input.models} --left-out {params.left_out:q} --processing {params.processing:q}"
        " --report {output.report:q} > {log} 2>&1"
