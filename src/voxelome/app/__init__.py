"""The BIDS App: arguments, configuration, one run of Snakemake, its display and what comes after."""
