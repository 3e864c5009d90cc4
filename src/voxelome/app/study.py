"""A study: its settings, its inventory and its plan, checked before anything runs."""

from __future__ import annotations

import argparse
import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from voxelome.app.arguments import match_labels, parse_derivatives
from voxelome.app.config import check_config, default_config, merge, save_config
from voxelome.app.exclusions import excluded_visits
from voxelome.app.failures import reason_in
from voxelome.bids.inventory import Inventory, InventoryUpdate, load_inventory, update_inventory
from voxelome.bids.plan import LazyPlan, Unit, load_plan
from voxelome.bids.spaces import absolute_space, parse_spaces
from voxelome.bids.spread import available_cores
from voxelome.bids.targets import (
    NETWORK,
    jobs_of,
    models_needed,
    networks_needed,
    unit_records,
    uses_segmentations,
    wanted_stages,
)
from voxelome.errors import DataError, InputError, blame, suggest
from voxelome.imageio import load_json, load_yaml
from voxelome.images import default_images_dir
from voxelome.segmentation.cards import (
    damaged_files,
    default_models_dir,
    fetch_command,
    load_card,
    works_on_ct,
)


@dataclass(frozen=True)
class Study:
    """What a run works on and how."""

    bids_dir: Path
    out_dir: Path
    work_dir: Path
    config: Mapping[str, Any]
    inventories: Inventory
    update: InventoryUpdate
    plan: LazyPlan
    # File with the settings that Snakemake reads.
    configfile: Path

    @property
    def subjects(self) -> list[str]:
        """Labels of the subjects that are to be worked on."""
        return self.plan.labels

    def visits(self, subject: str) -> list[Unit]:
        """Visits of one subject that have something to work on."""
        return self.plan.visits(subject)


def open_study(options: argparse.Namespace) -> Study:
    """Read the settings, bring the inventory up to date, begin the plan.

    Raises
    ------
    InputError
        For whatever in the settings, the dataset or the options cannot be used.
    """
    derivatives = parse_derivatives(options.derivatives)
    config = _settings(options, derivatives)
    derivatives = {name: Path(path) for name, path in config["derivatives"].items()}
    folder = options.work_dir / "inventory"
    update = update_inventory(options.bids_dir, folder, derivatives=derivatives, filters=config["filters"])
    inventories = load_inventory(folder)
    sessions = {session for label in inventories for session in inventories.sessions(label) if session}
    config["participants"] = match_labels(config["participants"], list(inventories), "sub-", options.bids_dir)
    config["sessions"] = match_labels(config["sessions"], sorted(sessions), "ses-", options.bids_dir)
    plan = load_plan(
        inventories,
        options.bids_dir,
        derivatives,
        participants=config["participants"],
        sessions=config["sessions"],
        maps=config["maps"],
    )
    cores = options.nprocs or available_cores()
    # More visits than cores make no difference: to count them all is to plan them all.
    visits = sum(1 for _ in islice(plan, cores))
    together = visits if options.level == "participant" else sum(map(jobs_of, config["analyses"]))
    config["omp_nthreads"] = (
        options.omp_nthreads or config["omp_nthreads"] or threads_per_step(cores, together)
    )
    check_config(config, "command line")
    parse_spaces(config["register"]["output_spaces"])
    _check_scale(config["register"])
    _check_parameters(config["radiomics"])
    _check_regions(config["radiomics"]["regions"])
    # A dry run computes nothing, and the check takes seconds.
    if "radiomics" in config["stages"] and not options.dry_run:
        _check_engine(config["radiomics"]["engine"])
    if options.exclusions and options.level != "group":
        raise InputError(options.exclusions, "--exclusions is for the group level", "give it to `group`")
    if options.level == "group":
        if options.exclusions:
            rated = excluded_visits(options.exclusions, plan)
            if plan and len(rated) == len(plan):
                raise InputError(options.exclusions, "excludes every visit", "rate those to keep otherwise")
            config["left_out"] = merge(config["left_out"], rated)
        config["left_out"] = merge(_unfinished(plan, config, options.work_dir), config["left_out"])
        _check_group(config, options.bids_dir, plan)
    _check_models(config, plan)
    if uses_segmentations(config) and any(config["segment"][key] for key in _NAMING):
        # What is named need not be there in those visits that this run is about.
        some = config["participants"] or config["sessions"]
        everyone = (
            load_plan(inventories, options.bids_dir, derivatives, maps=config["maps"]) if some else plan
        )
        _check_segmentations(config, everyone)
    # config.yaml says how the results were made: what makes none leaves it alone.
    configfile = options.work_dir / ("dry-run.yaml" if options.dry_run or options.unlock else "config.yaml")
    save_config(configfile, config)
    folders = options.bids_dir, options.out_dir, options.work_dir
    return Study(*folders, config, inventories, update, plan, configfile)


def _settings(options: argparse.Namespace, derivatives: Mapping[str, Path]) -> dict[str, Any]:
    """Defaults, then the study's file, then the command line."""
    remembered = _remembered(options)
    config = merge(default_config(), remembered, {"omp_nthreads": None})
    if options.config_file:
        config = merge(config, load_yaml(options.config_file))
        check_config({**config, "omp_nthreads": config["omp_nthreads"] or 1}, options.config_file)
        config["derivatives"] = {
            name: str((options.config_file.parent / path).resolve())
            for name, path in config["derivatives"].items()
        }
        config["register"]["output_spaces"] = [
            absolute_space(space, options.config_file.parent) for space in config["register"]["output_spaces"]
        ]
        for stage, key in (("radiomics", "parameters"), ("register", "landmarks")):
            if given := config[stage][key]:
                config[stage][key] = str((options.config_file.parent / given).resolve())
    own = {
        "bids_dir": str(options.bids_dir),
        "out_dir": str(options.out_dir),
        "work_dir": str(options.work_dir),
        "models_dir": _folder(options.models_dir, remembered.get("models_dir"), default_models_dir()),
        "images_dir": _folder(options.images_dir, remembered.get("images_dir"), default_images_dir()),
        "participants": options.participant_label or config["participants"],
        "sessions": options.session_label or config["sessions"],
        "stages": options.stages or config["stages"],
        "random_seed": config["random_seed"] if options.random_seed is None else options.random_seed,
    }
    config = merge(config, own)
    if derivatives:
        config["derivatives"] = {name: str(path) for name, path in derivatives.items()}
    if options.output_spaces is not None:
        config["register"]["output_spaces"] = [absolute_space(space) for space in options.output_spaces]
    if options.bids_filter_file:
        config["filters"] = load_json(options.bids_filter_file)
    return config


# What the participant level was told and the group level need not be told again.
REMEMBERED = (
    "models_dir",
    "images_dir",
    "derivatives",
    "filters",
    "random_seed",
    "affine",
    "maps",
    "preprocess",
    "register",
    "qsm",
    "segment",
    "radiomics",
)


def _remembered(options: argparse.Namespace) -> dict[str, Any]:
    """Settings that the results of the participant level were made with.

    The group level starts from them: with the defaults it would do every visit again in another way.
    """
    path = options.work_dir / "config.yaml"
    if options.level != "group" or not path.is_file():
        return {}
    return {key: value for key, value in load_yaml(path).items() if key in REMEMBERED}


def _folder(given: Path | None, before: str | None, default: Path) -> str:
    """Folder of models or images: as given, as before if that one is still there, or by default."""
    there = Path(before) if before and Path(before).is_dir() else default.expanduser().resolve()
    return str(given or there)


def _unfinished(
    plan: Mapping[str, Unit], config: Mapping[str, Any], work_dir: Path
) -> dict[str, str | dict[str, str]]:
    """Visits that the participant level has not finished: the step that failed and its reason, or words."""
    left: dict[str, str | dict[str, str]] = {}
    stages = wanted_stages(config)
    for name, unit in plan.items():
        missing = [record for record in unit_records(unit, stages) if not (work_dir / record).is_file()]
        if missing:
            step = Path(missing[0]).stem
            log = work_dir / "logs" / name / f"{step}.log"
            failed = log.is_file()
            left[name] = (
                {"step": step, "reason": reason_in(log)} if failed else f"{step} has not been run yet"
            )
    return left


def _check_group(config: Mapping[str, Any], bids_dir: Path, plan: Mapping[str, Unit]) -> None:
    """Refuse what the group level could only find out after hours."""
    if all(name in config["left_out"] for name in plan):
        raise InputError(
            config["out_dir"], "no visit has been worked on yet", "run the participant level first"
        )
    table = bids_dir / "participants.tsv"
    if not config["analyses"]:
        return
    if not table.is_file():
        raise InputError(table, "there is no such file", "an analysis takes its outcome from it")
    columns = table.read_text(encoding="utf-8-sig").split("\n", 1)[0].rstrip("\r").split("\t")
    for analysis in config["analyses"]:
        for column in (analysis["outcome"], *analysis.get("covariates", [])):
            if column not in columns:
                problem = f"has no column {column!r}, which analysis {analysis['name']} needs"
                raise InputError(table, problem, suggest(column, columns))


def _check_scale(given: Mapping[str, Any]) -> None:
    """Refuse a normalisation without its standard scale, and a scale that is not used or is none."""
    from voxelome.anat.landmarks import LEARN, load_scale

    if given["normalisation"] == "nyul":
        if not given["landmarks"]:
            raise InputError("register: normalisation", "nyul needs landmarks: a standard scale", LEARN)
        load_scale(Path(given["landmarks"]))
    elif given["landmarks"]:
        problem = f"are not used by the normalisation {given['normalisation']}"
        raise InputError("register: landmarks", problem, "choose normalisation: nyul, or take them out")


def _check_parameters(given: Mapping[str, Any]) -> None:
    """Refuse settings of radiomics that every visit would refuse after its images were prepared."""
    path = given["parameters"]
    content = load_yaml(path) if path else None
    # Where steps run in images of their own, PyRadiomics need not be here: the step then checks the file.
    if path and not find_spec("radiomics"):
        return
    from voxelome.radiomics.settings import chosen_settings

    with blame(path or "radiomics"):
        settings = chosen_settings(content, given["bin_width"], given["bin_count"], given["minimum_voxels"])
        if given["feature_maps"] and find_spec("radiomics"):
            from voxelome.radiomics.maps import parse_maps

            parse_maps(given["feature_maps"], settings)
        if given["engine"] == "mirp" and given["feature_maps"]:
            raise DataError("mirp makes no feature maps", "choose the engine pyradiomics, or no maps")
        if given["engine"] == "mirp" and given["perturbations"]:
            raise DataError("mirp does not perturb", "choose the engine pyradiomics, or no perturbations")
        if given["engine"] == "mirp":
            from voxelome.radiomics.ibsi_engine import check_settings

            check_settings(settings)


def _check_regions(items: list[dict[str, Any]]) -> None:
    """Refuse regions that no visit could make."""
    if items:
        from voxelome.radiomics.algebra import parse_recipes

        with blame("radiomics: regions"):
            parse_recipes(items)


def _check_engine(engine: str) -> None:
    """Refuse to start with a build of an engine that computes something else.

    Each step asks again, in the environment that it runs in.
    """
    if find_spec({"pyradiomics": "radiomics"}.get(engine, engine)):
        from voxelome.radiomics.selfcheck import check_engine

        with blame("radiomics"):
            check_engine(engine)


def _check_models(config: Mapping[str, Any], plan: Mapping[str, Unit]) -> None:
    """Refuse to start when a network that will be needed has not been fetched."""
    folder = Path(config["models_dir"])
    for name in models_needed(config, plan.values()):
        card = load_card(folder, name)
        if damaged := damaged_files(folder, name):
            problem = f"{', '.join(damaged)} is missing or is not what card.json says"
            again = fetch_command(folder, name)
            raise InputError(folder / name, problem, f"remove the folder, then run: {again}")
        if name in networks_needed(config) and card["task"] == "brain extraction":
            raise InputError(name, "finds brains, which preprocess does", "take it out of segment: models")


# Settings of segment that name something.
_NAMING = ("models", "fusions", "compare")


def _check_segmentations(config: Mapping[str, Any], plan: Mapping[str, Unit]) -> None:
    """Refuse names that are taken, and fusions and comparisons of what no visit has."""
    segment = config["segment"]
    fusions = [item["name"] for item in segment["fusions"]]
    masks = list(dict.fromkeys(mask.name for unit in plan.values() for mask in unit.masks))
    if twice := [name for name in segment["models"] if name in masks]:
        remedy = "rename the masks (desc-), or the network in a registry of your own"
        raise InputError("segment: models", f"{twice[0]} is the name of masks that are given, too", remedy)
    known = [*segment["models"], *masks]
    if twice := [name for name in fusions if name in known or fusions.count(name) > 1]:
        raise InputError("segment: fusions", f"{twice[0]} is a name already", "give it a name of its own")
    wanted = [("fusions", name, known) for item in segment["fusions"] for name in item["of"]]
    wanted += [("compare", name, [*known, *fusions]) for name in segment["compare"]]
    for setting, name, there in wanted:
        if name not in there:
            problem = f"there is no mask or network {name!r}"
            raise InputError(f"segment: {setting}", problem, suggest(name, there))
        if name in segment["models"] and (
            why := _unfit(load_card(Path(config["models_dir"]), name), setting)
        ):
            raise InputError(f"segment: {setting}", f"the network {name} {why}", "take it out")


def _unfit(card: Mapping[str, Any], setting: str) -> str:
    """Why what a network gives cannot be fused or compared; empty where it can."""
    if card["task"] != "segmentation":
        return "gives no labels"
    if works_on_ct(card):
        return "works on CT, which no other image or visit is brought to"
    if setting == "compare" and not card.get("lesions", False):
        return "finds no lesions, which alone are compared (its entry has no lesions: true)"
    return ""


def ct_records(config: Mapping[str, Any]) -> list[str]:
    """Names of the records of those networks that depend on no other step, as they work on CT."""
    folder = Path(config["models_dir"])
    return [NETWORK + name for name in networks_needed(config) if works_on_ct(load_card(folder, name))]


def use_home(work_dir: Path) -> None:
    """Give this process and its children a home, a place for temporary files, and a user's name.

    In a container that runs as any user there may be none that can be written to, and Docker knows no name of
    that user. Snakemake, numba and nipype need all three.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())
    if not os.access(os.environ.get("HOME") or "/", os.W_OK):
        home = work_dir / "home"
        home.mkdir(parents=True, exist_ok=True)
        os.environ["HOME"] = str(home)
        os.environ.pop("XDG_CACHE_HOME", None)
    if not any(os.access(folder, os.W_OK) for folder in (os.environ.get("TMPDIR") or "/tmp", "/var/tmp")):
        scratch = work_dir / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        os.environ["TMPDIR"] = str(scratch)


def threads_per_step(cores: int, together: int) -> int:
    """Threads of one step: one where enough steps (visits, or analyses) run together to fill the cores."""
    return max(1, min(8, cores // max(together, 1)))
