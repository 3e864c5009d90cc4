"""`voxelome-tools models`: list, show, fetch and verify."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from voxelome.app import models
from voxelome.errors import ExitCode, InputError, listed, suggest
from voxelome.segmentation.cards import damaged_files, fetch_command, load_card

Command = Callable[[Sequence[str], Path, Path | None, Console], int]


def list_models(names: Sequence[str], models_dir: Path, own: Path | None, console: Console) -> int:
    """Show a table of the models of the registry, and of others that are in the folder."""
    entries = models.registry(own)
    others = {name: load_card(models_dir, name) for name in models.fetched(models_dir) if name not in entries}
    every = {**entries, **others}
    table = Table("name", "task", "licence", "state", "size", title=f"models in {models_dir}", box=None)
    for entry in [models.pick(every, name) for name in names or every]:
        held = others.get(entry["name"])
        state = models.state(entry, models_dir) if held is None else _state_by_card(entry["name"], models_dir)
        size = models.size(entry, models_dir)
        shown = "" if size is None else f"{size / 1e6:.1f} MB"
        table.add_row(entry["name"], entry["task"], entry["licence"], state, shown)
    console.print(table)
    return ExitCode.DONE


def show_models(names: Sequence[str], models_dir: Path, own: Path | None, console: Console) -> int:
    """Show everything that is known of models: the card of a fetched one, else its entry."""
    entries = models.registry(own)
    for name in _named(names, "show", entries):
        known = name in entries or name not in models.fetched(models_dir)
        entry = models.pick(entries, name) if known else load_card(models_dir, name)
        state = models.state(entry, models_dir) if known else _state_by_card(name, models_dir)
        card = load_card(models_dir, name) if state != "absent" else entry
        text = yaml.safe_dump(dict(card), sort_keys=False, allow_unicode=True, width=100)
        console.print(f"{text}state: {state} ({models_dir / name})", markup=False, soft_wrap=True)
        if state in ("absent", "outdated"):
            console.print(f"fetch it: {fetch_command(models_dir, name, own)}", markup=False, soft_wrap=True)
    return ExitCode.DONE


def fetch_models(names: Sequence[str], models_dir: Path, own: Path | None, console: Console) -> int:
    """Bring models into the folder."""
    from voxelome.app.fetch import fetch

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    entries = models.registry(own)
    for entry in [models.pick(entries, name) for name in _named(names, "fetch", entries)]:
        say(fetch(entry, models_dir.resolve(), say))
        say(f"licence: {entry['licence']}; not for: {entry['not_for']}")
    return ExitCode.DONE


def verify_models(names: Sequence[str], models_dir: Path, own: Path | None, console: Console) -> int:
    """Check the files of the models that are in the folder against their cards."""
    entries = models.registry(own)
    here = models.fetched(models_dir)
    unknown = [name for name in names if name not in entries and name not in here]
    if unknown:
        raise InputError(unknown[0], "there is no such model", suggest(unknown[0], [*entries, *here]))
    well = True
    for name in names or here:
        damaged = damaged_files(models_dir, name)
        well = well and not damaged
        outdated = not damaged and name in entries and models.state(entries[name], models_dir) == "outdated"
        verdict = (
            f"damaged: {listed(damaged)}; run: {fetch_command(models_dir, name, own)}" if damaged else "whole"
        )
        more = "; the registry has another entry now, fetch it again to use that" if outdated else ""
        console.print(f"{name}: {verdict}{more}", markup=False, soft_wrap=True)
    if not here and not names:
        console.print(f"no model is in {models_dir}", markup=False, soft_wrap=True)
    return ExitCode.DONE if well else ExitCode.INPUT


def _named(names: Sequence[str], what: str, entries: Mapping[str, Any]) -> Sequence[str]:
    """The names, of which there must be one."""
    if not names:
        raise InputError(f"models {what}", "needs a name", f"there are: {', '.join(entries)}")
    return names


def _state_by_card(name: str, models_dir: Path) -> str:
    """State of a model that no registry here names."""
    return "damaged" if damaged_files(models_dir, name) else "ready"


COMMANDS: dict[str, Command] = {
    "list": list_models,
    "show": show_models,
    "fetch": fetch_models,
    "verify": verify_models,
}
