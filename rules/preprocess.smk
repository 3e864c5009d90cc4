rule preprocess:
    input:
        images=ancient(lambda wildcards: unit_of(wildcards).images),
        imaginary=ancient(lambda wildcards: unit_of(wildcards).imaginary),
        brain_masks=ancient(
            lambda wildcards: [mask.path for mask in unit_of(wildcards).brain_masks]
        ),
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
        mem_mb=memory(2500),
        runtime=60,
    params:
        code=CODE["preprocess"],
        content=lambda wildcards: unit_of(wildcards).digest(
            unit_of(wildcards).image_digest, unit_of(wildcards).brain_masks
        ),
        labels=lambda wildcards: unit_of(wildcards).image_labels,
        complex_labels=lambda wildcards: unit_of(wildcards).complex_labels,
        references=lambda wildcards: unit_of(wildcards).references,
        network=lambda wildcards: (
            model_digest(BRAIN_MODEL)
            if needs_brain_model(config, unit_of(wildcards))
            else ""
        ),
        brain=config["preprocess"]["brain_extraction"],
        affine=config["affine"],
        flags=[
            f"--{'' if config['preprocess'][name] else 'no-'}{name.replace('_', '-')}"
            for name in ("denoising", "bias_correction")
        ],
        out_dir="prepared/{unit}",
    shell:
        "preprocess_session.py --unit {wildcards.unit} --images {input.images:q}"
        " --labels {params.labels:q} --complex-labels {params.complex_labels:q}"
        " --imaginary {input.imaginary:q} --references {params.references:q} --brain-masks {input.brain_masks:q}"
        ' --models-dir "$VOXELOME_MODELS_DIR" --brain-extraction {params.brain} --affine {params.affine} {params.flags}'
        " --out-dir {params.out_dir} --record {output.record} --num-threads {threads} > {log} 2>&1"
