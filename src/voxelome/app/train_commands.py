"""`voxelome-tools train`: a network of one's own, from synthetic images, a dataset, or simulated heads."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from voxelome.errors import ExitCode, InputError

STOPPED = 130
Say = Callable[[str], None]


def train(options: argparse.Namespace, console: Console) -> int:
    """Train a network, export it, and write its entry and its model card.

    Raises
    ------
    InputError
        Options contradict each other, a package is missing, or the images cannot be used.
    """

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    _check_options(options)
    try:
        if options.demo:
            from voxelome.app.train_plans import demonstrate

            demonstrate(options, _device(options), say)
        else:
            _fit(options, say)
    except KeyboardInterrupt:
        kept = _state(options).is_file()
        again = "goes on from the last state" if kept else "begins anew, as nothing was kept"
        say(f"stopped; the same command {again}")
        return STOPPED
    fetch = ["voxelome-tools", "models", "fetch", options.name, "--registry", f"{options.out}/entry.yaml"]
    say(f"done, see {options.out}/README.md; to use it, run: {shlex.join(fetch)}")
    return ExitCode.DONE


def _check_options(options: argparse.Namespace) -> None:
    """Refuse what cannot be trained before anything is read."""
    from voxelome.app.train_entry import check_name
    from voxelome.app.train_packages import check_packages

    check_name(options.name)
    if bool(options.labels) != bool(options.derivatives):
        raise InputError("train", "--labels and --derivatives go together", "give both, or neither")
    if options.label_maps and not options.synthetic:
        raise InputError("train", "--label-maps goes with --synthetic", "leave it out")
    unused = ("spacing", "patch", "minutes", "entry", "workers", "initial")
    given = [f"--{name}" for name in unused if getattr(options, name) is not None]
    if options.demo and given:
        raise InputError("train", f"{given[0]} does not go with --demo", "leave it out")
    for name in ("spacing", "patch", "steps", "minutes"):
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise InputError("train", f"--{name} is {value:g}", "give a number above 0")
    if options.seed < 0 or (options.workers or 0) < 0:
        raise InputError("train", "--seed or --workers is below 0", "give 0 or more")
    check_packages(options)


def _device(options: argparse.Namespace) -> str:
    """Device of the training, ``cpu`` or ``cuda``."""
    import torch

    there = torch.cuda.is_available()
    if options.device == "cuda" and not there:
        raise InputError("train", "there is no GPU that torch can use", "leave out --device, or say cpu")
    return "cuda" if there and options.device != "cpu" else "cpu"


def _fit(options: argparse.Namespace, say: Say) -> None:
    """Train a segmentation."""
    import torch

    from voxelome.app.train_entry import MODEL
    from voxelome.app.train_folder import claim, write
    from voxelome.app.train_packages import versions
    from voxelome.app.train_plans import plan_labelled, plan_synthetic
    from voxelome.segmentation.cards import file_sha256
    from voxelome.segmentation.engine import open_members
    from voxelome.training import fit
    from voxelome.training.card import card_text, complete_entry
    from voxelome.training.export import export_onnx

    device = _device(options)
    gpu = device == "cuda"
    steps = options.steps or (10**9 if options.minutes else 20000 if gpu else 3000)
    workers = options.workers if options.workers is not None else 4 * gpu
    default_patch = 112 if gpu else 64
    make = plan_synthetic if options.synthetic else plan_labelled
    length = {"steps": steps, "minutes": options.minutes, "seed": options.seed}
    if options.initial:
        if not options.initial.is_file():
            raise InputError(options.initial, "there is no such state", "check the name")
        length["initial"] = file_sha256(options.initial)
    plan = make(options, default_patch, lambda about: claim(options.out, {**length, **about}), say)
    settings = fit.TrainingSettings(
        steps, 60 * options.minutes if options.minutes else math.inf, plan.spec.grid.patch,
        batch=4 if gpu else 2, pool=200 if gpu else 40, workers=workers, mirror=plan.mirror,
        softmax=plan.spec.activation == "softmax", seed=options.seed,
    )  # fmt: skip
    state = _state(options)
    if state.is_file():
        say("going on from the last state")
    network, facts = fit.train(
        plan.source, plan.spec.channels, plan.spec.outputs, settings, device,
        lambda now: say(f"step {now['step']} ({now['share']:.0%}): loss {now['loss']:.3f}"),
        checkpoint=state, initial=options.initial,
    )  # fmt: skip
    shape = (plan.spec.channels, *plan.spec.grid.patch)
    export_onnx(network, shape, options.out / MODEL, any_size=True, half=True)
    say("testing it on what it has not seen")
    entry = complete_entry(plan.entry, options.out / MODEL)
    checksums = {file["path"]: file["sha256"] for file in entry["files"]}
    scores = plan.score(list(open_members(options.out, plan.spec, checksums, torch.get_num_threads())))
    facts = {key: value for key, value in facts.items() if value != math.inf}
    if options.initial:
        facts["initial"] = f"{options.initial.name}, sha256 {length['initial'][:16]}"
    made = {**plan.made, **facts}
    write(options.out, options.name, entry, card_text(options.name, entry, made, scores, versions(options)))


def _state(options: argparse.Namespace) -> Path:
    """File of the state of a training; a demonstration has none."""
    return Path(options.out) / "training" / "state.pt"
