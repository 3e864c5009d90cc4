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


rule network:
    input:
        prepared=lambda wildcards: network_records(wildcards, "preprocess"),
        registered=lambda wildcards: network_records(wildcards, "register"),
        cts=ancient(lambda wildcards: [item.path for item in network_cts(wildcards)]),
    output:
        record="steps/{unit}/network-{model}.json",
    log:
        "logs/{unit}/network-{model}.log",
    benchmark:
        "benchmarks/{unit}/network-{model}.tsv"
    conda:
        "../envs/segment.yaml"
    container:
        CONTAINERS["segment"]
    threads: config["omp_nthreads"]
    resources:
        mem_mb=memory(4500),
        runtime=120,
    params:
        code=CODE["network"],
        content=lambda wildcards: unit_of(wildcards).digest(network_cts(wildcards)),
        network=lambda wildcards: model_digest(wildcards.model),
        records=lambda wildcards, input: [
            f"--{name}={path}"
            for name, paths in (
                ("prepared", input.prepared),
                ("registered", input.registered),
            )
            for path in paths
        ],
        gradient_echoes=lambda wildcards: (
            [] if of_ct(wildcards.model) else unit_of(wildcards).magnitude_labels
        ),
        probabilities=(
            "--probabilities"
            if config["segment"]["probabilities"]
            else "--no-probabilities"
        ),
        device=config["segment"]["device"],
        affine=config["affine"],
        out_dir=anat_of,
    shell:
        'run_network.py --unit {wildcards.unit} --model {wildcards.model} --models-dir "$VOXELOME_MODELS_DIR"'
        " {params.records:q} --cts {input.cts:q} --gradient-echoes {params.gradient_echoes:q}"
        " {params.probabilities} --device {params.device} --affine {params.affine} --out-dir {params.out_dir:q}"
        " --record {output.record} --num-threads {threads} > {log} 2>&1"


rule fusion:
    input:
        prepared="steps/{unit}/preprocess.json",
        registered="steps/{unit}/register.json",
        records=lambda wildcards: fused_records(wildcards),
    output:
        record="steps/{unit}/fusion-{fusion}.json",
    log:
        "logs/{unit}/fusion-{fusion}.log",
    benchmark:
        "benchmarks/{unit}/fusion-{fusion}.tsv"
    conda:
        "../envs/segment.yaml"
    container:
        CONTAINERS["segment"]
    threads: config["omp_nthreads"]
    resources:
        mem_mb=memory(2500),
        runtime=60,
    params:
        code=CODE["fuse"],
        of=lambda wildcards: FUSIONS[wildcards.fusion]["of"],
        method=lambda wildcards: FUSIONS[wildcards.fusion].get("method", "majority"),
        gradient_echoes=lambda wildcards: unit_of(wildcards).magnitude_labels,
        out_dir=anat_of,
    shell:
        "fuse_labels.py --unit {wildcards.unit} --name {wildcards.fusion} --of {params.of:q}"
        " --method {params.method} --records {input.records} --prepared {input.prepared}"
        " --registered {input.registered} --gradient-echoes {params.gradient_echoes:q}"
        " --out-dir {params.out_dir:q} --record {output.record} --num-threads {threads} > {log} 2>&1"


rule change:
    input:
        midway="steps/sub-{subject}/midway.json",
        segmented=lambda wildcards: [
            segmentation_record(unit, wildcards.compared, WANTED)
            for unit in midway_visits(visits_of(wildcards))
        ],
    output:
        record="steps/sub-{subject}/change-{compared}.json",
    log:
        "logs/sub-{subject}/change-{compared}.log",
    benchmark:
        "benchmarks/sub-{subject}/change-{compared}.tsv"
    conda:
        "../envs/segment.yaml"
    container:
        CONTAINERS["segment"]
    threads: config["omp_nthreads"]
    resources:
        mem_mb=memory(2500),
        runtime=60,
    params:
        code=CODE["change"],
        out_dir=OUT_DIR,
    shell:
        "compare_lesions.py --unit sub-{wildcards.subject} --name {wildcards.compared} --midway {input.midway}"
        " --segmented {input.segmented} --out-dir {params.out_dir:q} --record {output.record}"
        " --num-threads {threads} > {log} 2>&1"
