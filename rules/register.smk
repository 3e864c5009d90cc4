rule register:
    input:
        prepared="steps/{unit}/preprocess.json",
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
        mem_mb=memory(4000),
        runtime=60,
    params:
        code=CODE["register"],
        reference=lambda wildcards: unit_of(wildcards).reference,
        gradient_echoes=lambda wildcards: unit_of(wildcards).magnitude_labels,
        spacing=config["register"]["template_spacing"],
        seed=config["random_seed"],
        out_dir=anat_of,
    shell:
        "register_session.py --unit {wildcards.unit} --prepared {input.prepared}"
        " --reference={params.reference:q} --gradient-echoes {params.gradient_echoes:q}"
        " --template-spacing {params.spacing} --random-seed {params.seed} --out-dir {params.out_dir:q}"
        " --record {output.record} --num-threads {threads} > {log} 2>&1"
