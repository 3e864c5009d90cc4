rule preprocess:
    input:
        images=ancient(lambda wildcards: unit_of(wildcards).images),
    output:
        record="steps/{unit}/preprocess.json",
    log:
        "logs/{unit}/preprocess.log",
    benchmark:
        "benchmarks/{unit}/preprocess.tsv"
    conda:
        "../envs/preprocess.yaml"
    container:
        CONTAINERS["preprocess"]
    threads: config["omp_nthreads"]
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        code=CODE["preprocess"],
        content=lambda wildcards: unit_of(wildcards).image_digest,
        labels=lambda wildcards: unit_of(wildcards).image_labels,
        reference=lambda wildcards: unit_of(wildcards).reference,
        models=config["models_dir"],
        bias=(
            "--bias-correction"
            if config["preprocess"]["bias_correction"]
            else "--no-bias-correction"
        ),
        out_dir="prepared/{unit}",
    shell:
        "preprocess_session.py --unit {wildcards.unit} --images {input.images:q}"
        " --labels {params.labels:q} --reference={params.reference:q} --models-dir {params.models:q} {params.bias}"
        " --out-dir {params.out_dir} --record {output.record} --num-threads {threads} > {log} 2>&1"
