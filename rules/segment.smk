rule segment:
    input:
        masks=ancient(
            lambda wildcards: [mask.path for mask in unit_of(wildcards).masks]
        ),
        maps=ancient(lambda wildcards: [item.path for item in unit_of(wildcards).maps]),
        prepared="steps/{unit}/preprocess.json",
        registered="steps/{unit}/register.json",
    output:
        record="steps/{unit}/segment.json",
    log:
        "logs/{unit}/segment.log",
    benchmark:
        "benchmarks/{unit}/segment.tsv"
    conda:
        "../envs/segment.yaml"
    container:
        CONTAINERS["segment"]
    threads: config["omp_nthreads"]
    resources:
        mem_mb=memory(1500),
        runtime=30,
    params:
        code=CODE["segment"],
        content=lambda wildcards: unit_of(wildcards).digest(unit_of(wildcards).masks),
        map_content=lambda wildcards: unit_of(wildcards).digest(unit_of(wildcards).maps),
        map_labels=lambda wildcards: [item.name for item in unit_of(wildcards).maps],
        names=lambda wildcards: [mask.name for mask in unit_of(wildcards).masks],
        tables=lambda wildcards: [
            mask.label_table or "n/a" for mask in unit_of(wildcards).masks
        ],
        affine=config["affine"],
        other_grids=config["segment"]["other_grids"],
        gradient_echoes=lambda wildcards: unit_of(wildcards).magnitude_labels,
        out_dir=anat_of,
    shell:
        "carry_masks.py --unit {wildcards.unit} --masks {input.masks:q} --names {params.names:q}"
        " --maps {input.maps:q} --map-labels {params.map_labels:q}"
        " --label-tables {params.tables:q} --prepared {input.prepared} --registered {input.registered}"
        " --affine {params.affine} --other-grids {params.other_grids} --gradient-echoes {params.gradient_echoes:q}"
        " --out-dir {params.out_dir:q} --record {output.record} --num-threads {threads} > {log} 2>&1"
