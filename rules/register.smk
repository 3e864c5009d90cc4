rule register:
    input:
        prepared="steps/{unit}/preprocess.json",
        lesions=ancient(lambda wildcards: [mask.path for mask in lesions_of(wildcards)]),
        templates=ancient(TEMPLATE_FILES),
        landmarks=ancient(LANDMARK_FILES),
    output:
        record="steps/{unit}/register.json",
    log:
        "logs/{unit}/register.log",
    benchmark:
        "benchmarks/{unit}/register.tsv"
    conda:
        "../envs/register.yaml"
    container:
        CONTAINERS["register"]
    threads: config["omp_nthreads"]
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        code=CODE["register"],
        content=lambda wildcards: unit_of(wildcards).digest(lesions_of(wildcards)),
        gradient_echoes=lambda wildcards: unit_of(wildcards).magnitude_labels,
        affine=config["affine"],
        other_grids=config["segment"]["other_grids"],
        transform=config["register"]["transform"],
        normalisation=config["register"]["normalisation"],
        landmarks=[file_digest(path) for path in LANDMARK_FILES],
        spaces=config["register"]["output_spaces"],
        templates=[file_digest(path) for path in TEMPLATE_FILES],
        scale=lambda wildcards, input: (
            f"--landmarks {shlex.join(input.landmarks)}" if input.landmarks else ""
        ),
        seed=config["random_seed"],
        out_dir=anat_of,
    shell:
        "register_session.py --unit {wildcards.unit} --prepared {input.prepared} --lesions {input.lesions:q}"
        " --gradient-echoes {params.gradient_echoes:q} --affine {params.affine}"
        " --other-grids {params.other_grids} --transform {params.transform}"
        " --normalisation {params.normalisation} {params.scale} --output-spaces {params.spaces:q} --random-seed {params.seed}"
        " --out-dir {params.out_dir:q} --record {output.record} --num-threads {threads} > {log} 2>&1"


rule midway:
    input:
        prepared=lambda wildcards: midway_records(wildcards, "preprocess"),
        registered=lambda wildcards: midway_records(wildcards, "register"),
    output:
        record="steps/sub-{subject}/midway.json",
    log:
        "logs/sub-{subject}/midway.log",
    benchmark:
        "benchmarks/sub-{subject}/midway.tsv"
    conda:
        "../envs/register.yaml"
    container:
        CONTAINERS["register"]
    threads: config["omp_nthreads"]
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        code=CODE["midway"],
        seed=config["random_seed"],
        out_dir=OUT_DIR,
    shell:
        "align_visits.py --unit sub-{wildcards.subject} --prepared {input.prepared} --registered {input.registered}"
        " --random-seed {params.seed} --out-dir {params.out_dir:q} --record {output.record}"
        " --num-threads {threads} > {log} 2>&1"
