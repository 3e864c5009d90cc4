rule radiomics:
    input:
        records=lambda wildcards: unit_records(
            unit_of(wildcards), ("register", "qsm", "segment")
        ),
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
        engine=config["radiomics"]["engine"],
        bin_count=config["radiomics"]["bin_count"],
        bin_width=config["radiomics"]["bin_width"],
        minimum_voxels=config["radiomics"]["minimum_voxels"],
        regions=json.dumps(config["radiomics"]["regions"]),
        histogram=json.dumps(config["radiomics"]["histogram"]),
        rois=config["radiomics"]["rois"],
        images=config["radiomics"]["images"],
        parameters=[file_digest(path) for path in RADIOMICS_FILES],
        given=[f"--parameters={path}" for path in RADIOMICS_FILES],
        out_dir=anat_of,
    shell:
        "extract_radiomics.py --unit {wildcards.unit} --records {input.records}"
        " --engine {params.engine} --bin-count {params.bin_count} --bin-width {params.bin_width} --minimum-voxels {params.minimum_voxels}"
        " --histogram {params.histogram:q}"
        " --regions {params.regions:q} --rois {params.rois:q} --images {params.images:q} {params.given:q}"
        " --out-dir {params.out_dir:q} --record {output.record} --num-threads {threads} > {log} 2>&1"
