"""`voxelome-tools`: the demonstration, the models and their training, the inventory, a check of a dataset."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import voxelome
from voxelome.app.arguments import parse_derivatives
from voxelome.app.progress import open_console
from voxelome.bids.plan import Unit
from voxelome.bids.spread import available_cores
from voxelome.errors import ExitCode, exit_code
from voxelome.imageio import load_json
from voxelome.segmentation.cards import default_models_dir

CONSOLE = open_console()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    options = build_parser().parse_args(arguments)
    return exit_code("voxelome-tools", lambda: int(options.action(options)))


def build_parser() -> argparse.ArgumentParser:
    """Parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="voxelome-tools", description="What surrounds the runs of voxelome."
    )
    parser.add_argument("--version", action="version", version=f"voxelome {voxelome.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="make a cohort with known truth, run everything on it, compare")
    demo.add_argument(
        "folder", type=Path, nargs="?", default=Path("demo"), help="where it all goes (default: demo)"
    )
    demo.add_argument("--participants", type=int, default=16, help="default: 16")
    demo.add_argument("--sites", type=int, default=2, help="default: 2")
    demo.add_argument("--random-seed", type=int, default=0, help="default: 0")
    demo.add_argument("--nprocs", type=int, default=available_cores(), help="cores to use (default: all)")
    demo.set_defaults(action=_demo)

    models = commands.add_parser("models", help="the networks: what there is, and what is here")
    models.add_argument(
        "what", choices=["list", "show", "fetch", "verify"], help="verify: are the files in the folder whole?"
    )
    models.add_argument("name", nargs="*", help="models; list takes all, verify all that are in the folder")
    models.add_argument("--models-dir", type=Path, default=default_models_dir(), help="default: %(default)s")
    models.add_argument("--registry", type=Path, metavar="FILE", help="registry of your own, put over ours")
    models.set_defaults(action=_models)

    inventory = commands.add_parser("inventory", help="bring the inventory of a dataset up to date")
    inventory.add_argument("bids_dir", type=Path, metavar="BIDS_DIR")
    inventory.add_argument("work_dir", type=Path, metavar="WORK_DIR", help="it goes to WORK_DIR/inventory")
    inventory.add_argument("-d", "--derivatives", nargs="+", default=[], metavar="NAME=DIR")
    inventory.add_argument("--bids-filter-file", type=Path, metavar="FILE")
    inventory.set_defaults(action=_inventory)

    check = commands.add_parser("check", help="say what a run would make of a dataset, image by image")
    check.add_argument("bids_dir", type=Path, metavar="BIDS_DIR")
    check.add_argument("-d", "--derivatives", nargs="+", default=[], metavar="NAME=DIR")
    check.set_defaults(action=_check)
    landmarks = commands.add_parser(
        "landmarks", help="learn a standard scale of intensities (Nyul) from the images of a finished run"
    )
    landmarks.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="results of voxelome")
    landmarks.add_argument("scale", type=Path, metavar="SCALE.json", help="for register: {landmarks: ...}")
    landmarks.add_argument(
        "--participants", nargs="+", metavar="LABEL", help="those to learn from (default: all)"
    )
    landmarks.set_defaults(action=_landmarks)
    sbom = commands.add_parser("sbom", help="write what an environment consists of (CycloneDX 1.6, JSON)")
    sbom.add_argument("environment", nargs="?", default="lock", help="a stage, or lock: all (default)")
    sbom.set_defaults(action=_sbom)
    boutiques = commands.add_parser("boutiques", help="print a Boutiques descriptor of voxelome (JSON)")
    boutiques.set_defaults(action=_boutiques)

    predict = commands.add_parser("predict", help="apply a model to features that it has not seen")
    predict.add_argument("model", type=Path, metavar="MODEL", help="model.skops, with model.json beside it")
    predict.add_argument(
        "features", type=Path, metavar="FEATURES.tsv", help="with the .json of the same name beside it"
    )
    predict.add_argument("--participants", type=Path, metavar="TSV", help="with covariates and sites, if any")
    predict.add_argument("--output", type=Path, metavar="TSV", help="default: beside FEATURES.tsv")
    predict.set_defaults(action=_predict)
    hold_out = commands.add_parser("hold-out", help="open the locked hold-out of an analysis, once")
    hold_out.add_argument("analysis", type=Path, metavar="OUT_DIR/group/NAME", help="folder of the analysis")
    hold_out.add_argument(
        "--participants", type=Path, required=True, metavar="TSV", help="participants.tsv of the dataset"
    )
    hold_out.add_argument(
        "--steps-dir", type=Path, metavar="WORK_DIR/steps", help="for an analysis with minimum_reliability"
    )
    hold_out.add_argument("--again", metavar="WHY", help="look once more; it is logged and reported")
    hold_out.set_defaults(action=_hold_out)
    _add_train(commands.add_parser("train", help="train a network of your own, for the registry"))
    return parser


def _landmarks(options: argparse.Namespace) -> int:
    from voxelome.app.landmark_command import learn_from

    scale = learn_from(options.out_dir, options.participants, options.scale)
    CONSOLE.print(
        f"{options.scale}: {', '.join(scale.contrasts)}, learned from {len(scale.participants)} "
        f"participant(s) of {scale.dataset}. No analysis may have them among its participants.",
        markup=False,
        soft_wrap=True,
    )
    return ExitCode.DONE


def _sbom(options: argparse.Namespace) -> int:
    from voxelome.app.sbom import write_bill

    return write_bill(options.environment)


def _boutiques(_: argparse.Namespace) -> int:
    from voxelome.app.boutiques import descriptor

    sys.stdout.write(json.dumps(descriptor(), indent=2) + "\n")
    return ExitCode.DONE


def _add_train(train: argparse.ArgumentParser) -> None:
    """Add the arguments of the training."""
    train.add_argument("name", metavar="NAME", help="of the network: a letter, then letters and digits")
    train.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where it goes")
    what = train.add_mutually_exclusive_group(required=True)
    what.add_argument("--synthetic", action="store_true", help="from synthetic images with planted lesions")
    what.add_argument("--derivatives", type=Path, metavar="OUT_DIR", help="a run of voxelome that has labels")
    what.add_argument("--demo", choices=["bleed", "age"], help="a small network, from simulated heads")
    train.add_argument(
        "--label-maps",
        type=Path,
        nargs="+",
        default=[],
        metavar="DSEG.nii.gz",
        help="with --synthetic: label maps of brains, FreeSurfer's or with a .tsv (default: a template's)",
    )
    train.add_argument("--labels", metavar="NAME", help="with --derivatives: desc of the labels to learn")
    train.add_argument("--spacing", type=float, metavar="MM", help="voxels of the network (default: 1)")
    train.add_argument("--patch", type=int, metavar="N", help="voxels along an edge (default: 112; CPU: 64)")
    length = train.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, metavar="N", help="default: 20000; CPU: 3000")
    length.add_argument("--minutes", type=float, metavar="M", help="of training, preparation not counted")
    train.add_argument(
        "--initial",
        type=Path,
        metavar="STATE.pt",
        help="training/state.pt of an earlier training to begin with, for fewer cases and steps",
    )
    train.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto")
    train.add_argument("--seed", type=int, default=0, help="default: 0")
    train.add_argument(
        "--workers", type=int, metavar="N", help="processes that make images (default: 0, GPU 4)"
    )
    train.add_argument(
        "--entry",
        type=Path,
        metavar="FILE",
        help="registry with an entry NAME: inputs, grid, outputs ...",
    )
    train.set_defaults(action=_train)


def _train(options: argparse.Namespace) -> int:
    from voxelome.app.train_commands import train

    return train(options, CONSOLE)


def _predict(options: argparse.Namespace) -> int:
    from voxelome.interfaces.predict import predict

    output = options.output or options.features.with_name("predictions.tsv")
    rows = predict(options.model, options.features, options.participants, output)
    CONSOLE.print(f"{rows} prediction(s): {output}", markup=False, soft_wrap=True)
    return ExitCode.DONE


def _hold_out(options: argparse.Namespace) -> int:
    from voxelome.interfaces.hold_out import open_locked

    found = open_locked(options.analysis, options.participants, options.again, options.steps_dir)
    row = found["Opening"]
    CONSOLE.print(
        f"{row['analysis']}: {row['measure']} {row['value']:.3f} in {row['participants']} participants who"
        f" were locked away. Logged in {options.analysis.parent}; rebuild the reports with --reports-only.",
        markup=False,
        soft_wrap=True,
    )
    return ExitCode.DONE


def _demo(options: argparse.Namespace) -> int:
    from voxelome.app.demo import run_demo
    from voxelome.cli import main as run

    settings = {"participants": options.participants, "sites": options.sites, "seed": options.random_seed}
    return run_demo(options.folder.resolve(), settings, options.nprocs, CONSOLE, run)


def _models(options: argparse.Namespace) -> int:
    from voxelome.app.model_commands import COMMANDS

    return COMMANDS[options.what](options.name, options.models_dir, options.registry, CONSOLE)


def _inventory(options: argparse.Namespace) -> int:
    from voxelome.bids.inventory import update_inventory

    filters = load_json(options.bids_filter_file) if options.bids_filter_file else None
    update = update_inventory(
        options.bids_dir.resolve(),
        options.work_dir / "inventory",
        derivatives=parse_derivatives(options.derivatives),
        filters=filters,
    )
    CONSOLE.print(
        f"{len(update.subjects)} subject(s): {len(update.added)} added, {len(update.changed)} changed, "
        f"{len(update.removed)} removed, {len(update.unchanged)} as before",
        markup=False,
    )
    return ExitCode.DONE


def _check(options: argparse.Namespace) -> int:
    from voxelome.bids.inventory import load_inventory, update_inventory
    from voxelome.bids.plan import load_plan

    bids_dir, derivatives = options.bids_dir.resolve(), parse_derivatives(options.derivatives)
    with tempfile.TemporaryDirectory() as folder:
        update_inventory(bids_dir, Path(folder), derivatives=derivatives)
        inventories = load_inventory(Path(folder))
        plan = load_plan(inventories, bids_dir, derivatives)
        for unit in plan.values():
            _describe(unit)
        problems = [problem for label in inventories for problem in inventories.problems(label)]
    for problem in problems:
        CONSOLE.print(
            f"{problem['path']}: {problem['problem']}; {problem['remedy']}", markup=False, soft_wrap=True
        )
    CONSOLE.print(f"{len(plan)} visit(s), {len(problems)} problem(s)")
    return ExitCode.INPUT if problems else ExitCode.DONE


def _describe(unit: Unit) -> None:
    """Print what a visit gets, and what it does not and why."""
    others = [item.label for item in unit.contrasts if item.label != unit.reference]
    CONSOLE.print(f"[bold]{unit.name}[/]")
    lines = [
        ("reference", unit.reference or "none"),
        ("registered to it", ", ".join(others)),
        ("gradient echo", ", ".join(f"{e.label} ({len(e.echo_times)} echoes)" for e in unit.gradient_echoes)),
        ("masks", ", ".join(mask.name for mask in unit.masks)),
        *((f"not possible: {item['what']}", item["why"]) for item in unit.skipped),
    ]
    for name, value in lines:
        if value:
            CONSOLE.print(f"  {name}: {value}", markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
