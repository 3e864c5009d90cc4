rule qsm:
    input:
        magnitude=ancient(lambda wildcards: acquisition_of(wildcards).magnitude),
        phase=ancient(lambda wildcards: acquisition_of(wildcards).phase),
        real=ancient(lambda wildcards: acquisition_of(wildcards).real),
        imaginary=ancient(lambda wildcards: acquisition_of(wildcards).imaginary),
        registered="steps/{unit}/register.json",
    output:
        record="steps/{unit}/qsm-{label}.json",
    log:
        "logs/{unit}/qsm-{label}.log",
    benchmark:
        "benchmarks/{unit}/qsm-{label}.tsv"
    conda:
        "../envs/qsm.yaml"
    container:
        CONTAINERS["qsm"]
    threads: config["omp_nthreads"]
    resources:
        mem_mb=memory(6000),
        runtime=60,
    params:
        code=CODE["qsm"],
        content=lambda wildcards: unit_of(wildcards).digest(acquisition_of(wildcards)),
        echo_times=lambda wildcards: acquisition_of(wildcards).echo_times,
        field_strength=lambda wildcards: acquisition_of(wildcards).field_strength,
        phase_times=lambda wildcards: acquisition_of(wildcards).phase_times,
        difference=lambda wildcards: (
            "--phase-difference" if acquisition_of(wildcards).phase_difference else ""
        ),
        units=lambda wildcards: acquisition_of(wildcards).phase_units,
        manufacturer=lambda wildcards: acquisition_of(wildcards).manufacturer,
        affine=config["affine"],
        choices=[
            f"--{name.replace('_', '-')} {config['qsm'][name]}"
            for name in (
                "phase_sign",
                "unwrapping",
                "field_fit",
                "relaxometry",
                "background",
                "inversion",
                "regularisation",
                "reference",
                "shading",
                "swi",
            )
        ],
        flags=[
            f"--{'' if config['qsm'][name] else 'no-'}{name.replace('_', '-')}"
            for name in ("two_pass", "separation")
        ],
        out_dir=anat_of,
    shell:
        "reconstruct_qsm.py --unit {wildcards.unit} --label {wildcards.label}"
        " --magnitude {input.magnitude:q} --phase {input.phase:q} --real {input.real:q}"
        " --imaginary {input.imaginary:q} --echo-times {params.echo_times}"
        " --phase-times {params.phase_times} {params.difference}"
        " --field-strength {params.field_strength} --phase-units={params.units:q}"
        " --manufacturer={params.manufacturer:q} --registered {input.registered}"
        " --affine {params.affine} {params.choices} {params.flags} --out-dir {params.out_dir:q} --record {output.record}"
        " --num-threads {threads} > {log} 2>&1"
