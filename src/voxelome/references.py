"""What to cite for a run: the methods and the programs of the stages that it used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A paper, and the stages that rest on it.

    Where it has names of methods, it is cited if the settings of one of its stages have one of them.
    """

    key: str
    stages: tuple[str, ...]
    use: str
    authors: str
    title: str
    journal: str
    year: int
    doi: str
    named: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.use}: {self.authors} ({self.year}). {self.title}. {self.journal}. doi:{self.doi}"


EVERY = (
    *("preprocess", "register", "qsm", "segment", "network", "fusion", "change"),
    *("radiomics", "model", "report"),
)

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
        ("N4",),
    ),
    Reference(
        "isensee2021",
        ("network",),
        "windows, mirrored passes and ensembles",
        "Isensee, F. and others",
        "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation",
        "Nature Methods 18:203-211",
        2021,
        "10.1038/s41592-020-01008-z",
    ),
    Reference(
        "warfield2004",
        ("fusion",),
        "STAPLE",
        "Warfield, S. K. and others",
        "Simultaneous truth and performance level estimation (STAPLE): an algorithm for the validation of "
        "image segmentation",
        "IEEE Transactions on Medical Imaging 23:903-921",
        2004,
        "10.1109/TMI.2004.828354",
        ("staple",),
    ),
    Reference(
        "langerak2010",
        ("fusion",),
        "SIMPLE",
        "Langerak, T. R. and others",
        "Label fusion in atlas-based segmentation using a selective and iterative method for performance "
        "level estimation (SIMPLE)",
        "IEEE Transactions on Medical Imaging 29:2000-2008",
        2010,
        "10.1109/TMI.2010.2057442",
        ("simple",),
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
        ("deepbet",),
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
        ("MNI152NLin2009aSym",),
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
        ("ROMEO",),
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
        ("(PDF)",),
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
        ("total variation",),
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
        ("classic",),
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
        ("pyradiomics",),
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
    # Cited by the methods of an analysis where they are used, and by no stage as such.
    Reference(
        "mirp",
        (),
        "definitions of radiomic features",
        "Zwanenburg, A. and others",
        "MIRP: a Python package for standardised radiomics",
        "Journal of Open Source Software 9:6413",
        2024,
        "10.21105/joss.06413",
    ),
    Reference(
        "nadeau",
        (),
        "comparison of models over folds",
        "Nadeau, C. and Bengio, Y.",
        "Inference for the generalization error",
        "Machine Learning 52:239-281",
        2003,
        "10.1023/A:1024068626366",
    ),
    Reference(
        "varma",
        (),
        "nested cross-validation",
        "Varma, S. and Simon, R.",
        "Bias in error estimation when using cross-validation for model selection",
        "BMC Bioinformatics 7:91",
        2006,
        "10.1186/1471-2105-7-91",
    ),
    Reference(
        "ambroise",
        (),
        "choice of features inside the folds",
        "Ambroise, C. and McLachlan, G. J.",
        "Selection bias in gene extraction on the basis of microarray gene-expression data",
        "Proceedings of the National Academy of Sciences 99:6562-6566",
        2002,
        "10.1073/pnas.102102699",
    ),
    Reference(
        "riley2020",
        (),
        "sample size",
        "Riley, R. D. and others",
        "Calculating the sample size required for developing a clinical prediction model",
        "BMJ 368:m441",
        2020,
        "10.1136/bmj.m441",
    ),
    Reference(
        "riley2019",
        (),
        "sample size of binary outcomes",
        "Riley, R. D. and others",
        "Minimum sample size for developing a multivariable prediction model: PART II - binary "
        "and time-to-event outcomes",
        "Statistics in Medicine 38:1276-1296",
        2019,
        "10.1002/sim.7992",
    ),
    Reference(
        "decision_curve",
        (),
        "net benefit",
        "Vickers, A. J. and Elkin, E. B.",
        "Decision curve analysis: a novel method for evaluating prediction models",
        "Medical Decision Making 26:565-574",
        2006,
        "10.1177/0272989X06295361",
    ),
    Reference(
        "combat",
        (),
        "harmonisation of sites",
        "Johnson, W. E., Li, C. and Rabinovic, A.",
        "Adjusting batch effects in microarray expression data using empirical Bayes methods",
        "Biostatistics 8:118-127",
        2007,
        "10.1093/biostatistics/kxj037",
    ),
    Reference(
        "combat_mri",
        (),
        "harmonisation of scanners",
        "Fortin, J.-P. and others",
        "Harmonization of cortical thickness measurements across scanners and sites",
        "NeuroImage 167:104-120",
        2018,
        "10.1016/j.neuroimage.2017.11.024",
    ),
    Reference(
        "concordance",
        (),
        "concordance",
        "Harrell, F. E. and others",
        "Evaluating the yield of medical tests",
        "JAMA 247:2543-2546",
        1982,
        "10.1001/jama.1982.03320430047030",
    ),
    Reference(
        "uno",
        (),
        "concordance with censoring",
        "Uno, H. and others",
        "On the C-statistics for evaluating overall adequacy of risk prediction procedures with "
        "censored survival data",
        "Statistics in Medicine 30:1105-1117",
        2011,
        "10.1002/sim.4154",
    ),
    Reference(
        "hand",
        (),
        "AUC of several classes",
        "Hand, D. J. and Till, R. J.",
        "A simple generalisation of the area under the ROC curve for multiple class classification problems",
        "Machine Learning 45:171-186",
        2001,
        "10.1023/A:1010920819831",
    ),
    Reference(
        "delong",
        (),
        "comparison of AUCs",
        "DeLong, E. R., DeLong, D. M. and Clarke-Pearson, D. L.",
        "Comparing the areas under two or more correlated receiver operating characteristic "
        "curves: a nonparametric approach",
        "Biometrics 44:837-845",
        1988,
        "10.2307/2531595",
    ),
    Reference(
        "fdr",
        (),
        "false discovery rate",
        "Benjamini, Y. and Hochberg, Y.",
        "Controlling the false discovery rate: a practical and powerful approach to multiple testing",
        "Journal of the Royal Statistical Society B 57:289-300",
        1995,
        "10.1111/j.2517-6161.1995.tb02031.x",
    ),
    Reference(
        "bootstrap632",
        (),
        "bootstrap",
        "Efron, B. and Tibshirani, R.",
        "Improvements on cross-validation: the .632+ bootstrap method",
        "Journal of the American Statistical Association 92:548-560",
        1997,
        "10.1080/01621459.1997.10474007",
    ),
    Reference(
        "elasticnet",
        (),
        "elastic net",
        "Zou, H. and Hastie, T.",
        "Regularization and variable selection via the elastic net",
        "Journal of the Royal Statistical Society B 67:301-320",
        2005,
        "10.1111/j.1467-9868.2005.00503.x",
    ),
    Reference(
        "lasso",
        (),
        "LASSO",
        "Tibshirani, R.",
        "Regression shrinkage and selection via the lasso",
        "Journal of the Royal Statistical Society B 58:267-288",
        1996,
        "10.1111/j.2517-6161.1996.tb02080.x",
    ),
    Reference(
        "extra_trees",
        (),
        "extremely randomised trees",
        "Geurts, P., Ernst, D. and Wehenkel, L.",
        "Extremely randomized trees",
        "Machine Learning 63:3-42",
        2006,
        "10.1007/s10994-006-6226-1",
    ),
    Reference(
        "random_forest",
        (),
        "random forest",
        "Breiman, L.",
        "Random forests",
        "Machine Learning 45:5-32",
        2001,
        "10.1023/A:1010933404324",
    ),
    Reference(
        "boosting",
        (),
        "gradient boosting",
        "Friedman, J. H.",
        "Greedy function approximation: a gradient boosting machine",
        "Annals of Statistics 29:1189-1232",
        2001,
        "10.1214/aos/1013203451",
    ),
    Reference(
        "survival_forest",
        (),
        "random survival forest",
        "Ishwaran, H. and others",
        "Random survival forests",
        "Annals of Applied Statistics 2:841-860",
        2008,
        "10.1214/08-AOAS169",
    ),
    Reference(
        "superpc",
        (),
        "supervised principal components",
        "Bair, E. and Tibshirani, R.",
        "Semi-supervised methods to predict patient survival from gene expression data",
        "PLoS Biology 2:e108",
        2004,
        "10.1371/journal.pbio.0020108",
    ),
    Reference(
        "stacking",
        (),
        "stacking",
        "Wolpert, D. H.",
        "Stacked generalization",
        "Neural Networks 5:241-259",
        1992,
        "10.1016/S0893-6080(05)80023-1",
    ),
    Reference(
        "mrmr",
        (),
        "choice of features",
        "Peng, H., Long, F. and Ding, C.",
        "Feature selection based on mutual information: criteria of max-dependency, "
        "max-relevance, and min-redundancy",
        "IEEE Transactions on Pattern Analysis and Machine Intelligence 27:1226-1238",
        2005,
        "10.1109/TPAMI.2005.159",
    ),
    Reference(
        "stability",
        (),
        "stability selection",
        "Meinshausen, N. and Bühlmann, P.",
        "Stability selection",
        "Journal of the Royal Statistical Society B 72:417-473",
        2010,
        "10.1111/j.1467-9868.2010.00740.x",
    ),
    Reference(
        "boruta",
        (),
        "choice of features",
        "Kursa, M. B. and Rudnicki, W. R.",
        "Feature selection with the Boruta package",
        "Journal of Statistical Software 36(11):1-13",
        2010,
        "10.18637/jss.v036.i11",
    ),
    Reference(
        "smote",
        (),
        "oversampling",
        "Chawla, N. V. and others",
        "SMOTE: synthetic minority over-sampling technique",
        "Journal of Artificial Intelligence Research 16:321-357",
        2002,
        "10.1613/jair.953",
    ),
    Reference(
        "tripod_ai",
        (),
        "reporting of prediction models",
        "Collins, G. S. and others",
        "TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use "
        "regression or machine learning methods",
        "BMJ 385:e078378",
        2024,
        "10.1136/bmj-2023-078378",
    ),
    Reference(
        "clear",
        (),
        "checklist of radiomics",
        "Kocak, B. and others",
        "CheckList for EvaluAtion of Radiomics research (CLEAR): a step-by-step reporting "
        "guideline for authors and reviewers endorsed by ESR and EuSoMII",
        "Insights into Imaging 14:75",
        2023,
        "10.1186/s13244-023-01415-8",
    ),
    Reference(
        "metrics_score",
        (),
        "quality score of radiomics",
        "Kocak, B. and others",
        "METhodological RadiomICs Score (METRICS): a quality scoring tool for radiomics research "
        "endorsed by EuSoMII",
        "Insights into Imaging 15:8",
        2024,
        "10.1186/s13244-023-01572-w",
    ),
)


def references_for(used: Mapping[str, str]) -> list[Reference]:
    """References of stages, by the words of their settings, in the order in which data flow."""
    return [item for item in REFERENCES if any(_rests(stage, used, item) for stage in item.stages)]


def _rests(stage: str, used: Mapping[str, str], item: Reference) -> bool:
    return stage in used and (not item.named or any(name in used[stage] for name in item.named))


def bibtex(references: Iterable[Reference]) -> str:
    """References as BibTeX."""
    return "\n".join(
        f"@article{{{r.key},\n  author = {{{r.authors}}},\n"
        f"  title = {{{r.title}}},\n  journal = {{{r.journal}}},\n"
        f"  year = {{{r.year}}},\n  doi = {{{r.doi}}}\n}}\n"
        for r in references
    )
