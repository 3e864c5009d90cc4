"""What to cite for a run: the methods and the programs of the stages that it used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import voxelome
from voxelome.imageio import save_text


@dataclass(frozen=True)
class Reference:
    """A paper, and the stages that rest on it."""

    key: str
    stages: tuple[str, ...]
    use: str
    authors: str
    title: str
    journal: str
    year: int
    doi: str

    def __str__(self) -> str:
        return f"{self.use}: {self.authors} ({self.year}). {self.title}. {self.journal}. doi:{self.doi}"


EVERY = ("preprocess", "register", "qsm", "segment", "radiomics", "model", "report")

REFERENCES = (
    Reference(
        "bids",
        EVERY,
        "organisation of the data",
        "Gorgolewski, K. J. and others",
        "The brain imaging data structure, a format for organizing and describing outputs of "
        "neuroimaging experiments",
        "Scientific Data 3:160044",
        2016,
        "10.1038/sdata.2016.44",
    ),
    Reference(
        "snakemake",
        EVERY,
        "workflow",
        "Mölder, F. and others",
        "Sustainable data analysis with Snakemake",
        "F1000Research 10:33",
        2021,
        "10.12688/f1000research.29032.2",
    ),
    Reference(
        "reuter2012",
        ("midway",),
        "common space of visits",
        "Reuter, M. and others",
        "Within-subject template estimation for unbiased longitudinal image analysis",
        "NeuroImage 61:1402-1418",
        2012,
        "10.1016/j.neuroimage.2012.02.084",
    ),
    Reference(
        "n4",
        ("preprocess",),
        "bias field correction",
        "Tustison, N. J. and others",
        "N4ITK: improved N3 bias correction",
        "IEEE Transactions on Medical Imaging 29:1310-1320",
        2010,
        "10.1109/TMI.2010.2046908",
    ),
    Reference(
        "deepbet",
        ("preprocess",),
        "brain extraction",
        "Fisch, L. and others",
        "deepbet: Fast brain extraction of T1-weighted MRI using convolutional neural networks",
        "Computers in Biology and Medicine 179:108845",
        2024,
        "10.1016/j.compbiomed.2024.108845",
    ),
    Reference(
        "ants",
        ("preprocess", "register"),
        "registration",
        "Tustison, N. J. and others",
        "The ANTsX ecosystem for quantitative biological and medical imaging",
        "Scientific Reports 11:9068",
        2021,
        "10.1038/s41598-021-87564-6",
    ),
    Reference(
        "mni",
        ("register",),
        "template",
        "Fonov, V. and others",
        "Unbiased average age-appropriate atlases for pediatric studies",
        "NeuroImage 54:313-327",
        2011,
        "10.1016/j.neuroimage.2010.07.033",
    ),
    Reference(
        "romeo",
        ("qsm",),
        "phase unwrapping",
        "Dymerska, B. and others",
        "Phase unwrapping with a rapid opensource minimum spanning tree algorithm (ROMEO)",
        "Magnetic Resonance in Medicine 85:2294-2308",
        2021,
        "10.1002/mrm.28563",
    ),
    Reference(
        "pdf",
        ("qsm",),
        "background field removal",
        "Liu, T. and others",
        "A novel background field removal method for MRI using projection onto dipole fields (PDF)",
        "NMR in Biomedicine 24:1129-1136",
        2011,
        "10.1002/nbm.1670",
    ),
    Reference(
        "tv",
        ("qsm",),
        "dipole inversion",
        "Bilgic, B. and others",
        "Fast quantitative susceptibility mapping with L1-regularization and automatic parameter selection",
        "Magnetic Resonance in Medicine 72:1444-1459",
        2014,
        "10.1002/mrm.25029",
    ),
    Reference(
        "swi",
        ("qsm",),
        "susceptibility-weighted imaging",
        "Haacke, E. M. and others",
        "Susceptibility weighted imaging (SWI)",
        "Magnetic Resonance in Medicine 52:612-618",
        2004,
        "10.1002/mrm.20198",
    ),
    Reference(
        "pyradiomics",
        ("radiomics",),
        "radiomic features",
        "van Griethuysen, J. J. M. and others",
        "Computational radiomics system to decode the radiographic phenotype",
        "Cancer Research 77:e104-e107",
        2017,
        "10.1158/0008-5472.CAN-17-0339",
    ),
    Reference(
        "ibsi",
        ("radiomics",),
        "definitions of radiomic features",
        "Zwanenburg, A. and others",
        "The image biomarker standardization initiative: standardized quantitative radiomics for "
        "high-throughput image-based phenotyping",
        "Radiology 295:328-338",
        2020,
        "10.1148/radiol.2020191145",
    ),
    Reference(
        "perturbation",
        ("robustness",),
        "robustness of features",
        "Zwanenburg, A. and others",
        "Assessing robustness of radiomic features by image perturbation",
        "Scientific Reports 9:614",
        2019,
        "10.1038/s41598-018-36938-4",
    ),
    Reference(
        "sklearn",
        ("model",),
        "models",
        "Pedregosa, F. and others",
        "Scikit-learn: machine learning in Python",
        "Journal of Machine Learning Research 12:2825-2830",
        2011,
        "10.48550/arXiv.1201.0490",
    ),
    Reference(
        "newcombe",
        ("model",),
        "confidence interval of the AUC",
        "Newcombe, R. G.",
        "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2",
        "Statistics in Medicine 25:559-573",
        2006,
        "10.1002/sim.2324",
    ),
)


def references_for(stages: Iterable[str]) -> list[Reference]:
    """References of the stages, in the order in which data flow."""
    wanted = set(stages)
    return [item for item in REFERENCES if wanted & set(item.stages)]


def write_citations(folder: Path, stages: Iterable[str]) -> None:
    """Write CITATION.md and CITATION.bib."""
    found = references_for(stages)
    lines = [f"# What to cite\n\nvoxelome {voxelome.__version__}, and:\n"]
    lines += [f"- {reference}" for reference in found]
    save_text(folder / "CITATION.md", "\n".join(lines) + "\n")
    entries = [
        f"@article{{{r.key},\n  author = {{{r.authors}}},\n"
        f"  title = {{{r.title}}},\n  journal = {{{r.journal}}},\n"
        f"  year = {{{r.year}}},\n  doi = {{{r.doi}}}\n}}\n"
        for r in found
    ]
    save_text(folder / "CITATION.bib", "\n".join(entries))
