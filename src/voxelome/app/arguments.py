"""The arguments of `voxelome`, named as users of fMRIPrep and MRIQC know them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import voxelome
from voxelome.bids.targets import STAGES
from voxelome.errors import InputError, suggest
from voxelome.images import default_images_dir
from voxelome.segmentation.cards import default_models_dir

DESCRIPTION = """\
From a BIDS dataset of brain MRI to quantitative maps, segmentations, radiomics and honestly
validated models. Run `participant` first, then `group`; a second run does only what is new.
`voxelome-tools check BIDS_DIR` says beforehand what each visit would get.
"""

EPILOG = """\
exit codes: 0 done; 1 some subject failed (the table says which, where and why); 2 wrong usage;
3 an input cannot be used; 70 a defect of voxelome.

example: voxelome /data/study /data/study-out participant --nprocs 8
         voxelome /data/study /data/study-out group
"""


def build_parser() -> argparse.ArgumentParser:
    """Parser of the command line, without what follows ``--``."""
    parser = argparse.ArgumentParser(
        prog="voxelome",
        usage="voxelome BIDS_DIR OUT_DIR {participant,group} [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bids_dir", type=Path, metavar="BIDS_DIR", help="the BIDS dataset; never written to")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="folder for the results")
    parser.add_argument(
        "level",
        choices=["participant", "group"],
        help="the subjects one by one, or the tables and models of all",
    )
    parser.add_argument("--version", action="version", version=f"voxelome {voxelome.__version__}")
    _add_selection(parser)
    _add_resources(parser)
    _add_run(parser)
    return parser


def _add_selection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to work on")
    group.add_argument(
        "--participant-label", nargs="+", default=[], metavar="LABEL", help="only these, with or without sub-"
    )
    group.add_argument(
        "--session-label",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="only these visits, with or without ses-",
    )
    group.add_argument(
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        help='JSON such as {"t1w": {"acquisition": "mprage"}}',
    )
    group.add_argument(
        "-d",
        "--derivatives",
        nargs="+",
        default=[],
        metavar="NAME=DIR",
        help="derivative datasets with masks (*_mask or *_dseg) on the grid of one of the visit's images",
    )
    group.add_argument(
        "--stages", nargs="+", choices=STAGES, metavar="STAGE", help=f"only these: {', '.join(STAGES)}"
    )
    group.add_argument(
        "--output-spaces",
        nargs="+",
        metavar="SPACE",
        help="template spaces, such as MNI152NLin2009aSym:res-1, or files of templates "
        "(default: MNI152NLin2009aSym:res-2)",
    )
    group.add_argument(
        "--exclusions",
        type=Path,
        metavar="FILE",
        help="ratings saved in the group's report: what is rated exclude is left out (group level only)",
    )
    group.add_argument(
        "--skip-bids-validation", action="store_true", help="do not run the official BIDS validator first"
    )


def _add_resources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("resources")
    group.add_argument("--nprocs", type=_positive, metavar="N", help="cores to use in all (default: all)")
    group.add_argument(
        "--omp-nthreads", type=_positive, metavar="N", help="threads of one step (default: by itself)"
    )
    group.add_argument(
        "--mem-mb", type=_positive, metavar="MB", help="memory to use in all (default: what is free)"
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the run")
    group.add_argument("-w", "--work-dir", type=Path, metavar="DIR", help="default: OUT_DIR/.voxelome")
    group.add_argument(
        "--config-file",
        type=Path,
        metavar="FILE",
        help="YAML with the settings that differ from the defaults, and the analyses (docs/usage.md)",
    )
    group.add_argument(
        "--reuse",
        type=Path,
        metavar="DIR",
        help="OUT_DIR of another run on this dataset, whose results are taken where they would be the same",
    )
    group.add_argument("--models-dir", type=Path, metavar="DIR", help=f"default: {default_models_dir()}")
    group.add_argument(
        "--images-dir", type=Path, metavar="DIR", help=f"container images; default: {default_images_dir()}"
    )
    group.add_argument(
        "--random-seed", type=_natural, metavar="N", help="seed of everything random (default: 0)"
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="say what would run, and run nothing; with --reuse, results are put into OUT_DIR all the same",
    )
    group.add_argument(
        "--reports-only", action="store_true", help="write the reports anew from what there is"
    )
    group.add_argument("--stop-on-first-crash", action="store_true", help="default: the other subjects go on")
    group.add_argument(
        "--profile",
        type=Path,
        metavar="NAME",
        help="apptainer, slurm, slurm-apptainer, lsf, sge, or the folder of a profile of Snakemake",
    )
    group.add_argument("--account", metavar="NAME", help="account of Slurm that jobs are charged to")
    group.add_argument("--partition", metavar="NAME", help="partition of Slurm that jobs go to")
    group.add_argument("--unlock", action="store_true", help="remove the lock that a killed run left")
    group.add_argument(
        "--remove-orphans",
        action="store_true",
        help="remove the results of subjects and visits that the dataset no longer has (default: name them)",
    )
    group.add_argument("-v", "--verbose", action="count", default=0, help="also show Snakemake's own lines")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parse the command line; what follows ``--`` is for Snakemake and is returned beside it."""
    own = list(arguments)
    extra: list[str] = []
    if "--" in own:
        cut = own.index("--")
        own, extra = own[:cut], own[cut + 1 :]
    return build_parser().parse_args(own), extra


def check_folders(options: argparse.Namespace) -> None:
    """Make the folders absolute; refuse those that would write into the dataset."""
    options.bids_dir = options.bids_dir.expanduser().resolve()
    options.out_dir = options.out_dir.expanduser().resolve()
    options.work_dir = (options.work_dir or options.out_dir / ".voxelome").expanduser().resolve()
    for name in ("models_dir", "images_dir"):
        if given := getattr(options, name):
            setattr(options, name, given.expanduser().resolve())
    if not options.bids_dir.is_dir():
        raise InputError(options.bids_dir, "there is no such folder", "give the root of the BIDS dataset")
    for folder in (options.bids_dir, options.out_dir, options.work_dir):
        check_name(folder)
    for name, folder in (("OUT_DIR", options.out_dir), ("--work-dir", options.work_dir)):
        if folder == options.bids_dir or options.bids_dir in folder.parents:
            raise InputError(
                folder,
                f"{name} lies inside BIDS_DIR, which is never written to",
                "choose a folder outside of it",
            )
        if folder.exists() and not folder.is_dir():
            raise InputError(folder, f"{name} is a file", "choose a folder")


def check_name(path: Path) -> None:
    """Refuse a path that a rule of Snakemake cannot name: braces are its own, and a name is one line."""
    if any(letter in "{}" or not letter.isprintable() for letter in str(path)):
        problem = "has a brace, or a character that cannot be printed, in its name"
        raise InputError(str(path).encode("unicode_escape").decode(), problem, "choose another name")


def parse_derivatives(pairs: Sequence[str]) -> dict[str, Path]:
    """Folders by name from ``NAME=DIR``; without a name the folder's own is taken."""
    found: dict[str, Path] = {}
    for pair in pairs:
        name, _, folder = pair.rpartition("=")
        path = Path(folder).expanduser().resolve()
        name = name or "".join(letter for letter in path.name if letter.isalnum())
        check_name(path)
        if not path.is_dir():
            raise InputError(path, "there is no such folder of derivatives", "check --derivatives NAME=DIR")
        if name in found:
            raise InputError(
                pair, f"the name {name!r} is given twice", "give each --derivatives a name of its own"
            )
        found[name] = path
    return found


def match_labels(wanted: Sequence[str], known: Sequence[str], prefix: str, where: Path) -> list[str]:
    """Labels without their prefix; one that does not exist is an InputError with the nearest that do."""
    labels = [label.removeprefix(prefix) for label in wanted]
    for label in labels:
        if label not in known:
            advice = suggest(prefix + label, [prefix + item for item in known])
            raise InputError(where, f"has no {prefix}{label}", advice)
    return list(dict.fromkeys(labels))
