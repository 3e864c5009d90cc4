rule radiomics:
    input:
        records=lambda wildcards: unit_records(unit_of(wildcards), MEASURED_STAGES),
        parameters=ancient(RADIOMICS_FILES),
    output:
        record="steps/{unit}/radiomics.json",
    log:
        "logs/{unit}/radiomics.log",
    benchmark:
        "benchmarks/{unit}/radiomics.tsv"
    conda:
        f"../envs/{RADIOMICS}.yaml"
    container:
        CONTAINERS[RADIOMICS]
    threads: config["omp_nthreads"]
    resources:
        mem_mb=memory(4000),
        runtime=120,
    params:
        code=CODE["radiomics"],
        how=MEASURED,
        feature_maps=config["radiomics"]["feature_maps"],
        histogram=json.dumps(config["radiomics"]["histogram"]),
        parameters=[file_digest(path) for path in RADIOMICS_FILES],
        given=[f"--parameters={path}" for path in RADIOMICS_FILES],
        out_dir=anat_of,
    shell:
        "extract_radiomics.py --unit {wildcards.unit} --records {input.records}"
        " {params.how} {params.given:q} --histogram {params.histogram:q} --feature-maps {params.feature_maps:q}"
        " --out-dir {params.out_dir:q} --record {output.record} --num-threads {threads} > {log} 2>&1"


rule robustness:
    input:
        records=lambda wildcards: unit_records(unit_of(wildcards), MEASURED_STAGES),
        parameters=ancient(RADIOMICS_FILES),
    output:
        record="steps/{unit}/robustness.json",
    log:
        "logs/{unit}/robustness.log",
    benchmark:
        "benchmarks/{unit}/robustness.tsv"
    conda:
        "../envs/radiomics.yaml"
    container:
        CONTAINERS["radiomics"]
    threads: config["omp_nthreads"]
    resources:
        mem_mb=memory(4000),
        runtime=600,
    params:
        code=CODE["robustness"],
        how=MEASURED,
        parameters=[file_digest(path) for path in RADIOMICS_FILES],
        given=[f"--parameters={path}" for path in RADIOMICS_FILES],
        perturbations=config["radiomics"]["perturbations"],
        seed=config["random_seed"],
        out_dir=anat_of,
    shell:
        "measure_robustness.py --unit {wildcards.unit} --records {input.records}"
        " {params.how} {params.given:q} --perturbations {params.perturbations} --random-seed {params.seed}"
        " --out-dir {params.out_dir:q} --record {output.record} --num-threads {threads} > {log} 2>&1"
