"""Pages that are made from the code: options, settings, networks (make docs).

Nothing in them is written by hand, so that nothing in them can be out of date.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

import voxelome.tools
from voxelome.app import arguments

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = REPOSITORY / "config"


def options_page() -> str:
    """The options of both commands, as their parsers describe them."""
    parts = ["# Every option", "What `--help` prints.", *_command(arguments.build_parser())]
    for parser in _with_subcommands(voxelome.tools.build_parser()):
        parts += _command(parser)
    return "\n\n".join(parts) + "\n"


def settings_page() -> str:
    """The settings, their defaults with their comments, and what each may be."""
    text = (CONFIG / "config.yaml").read_text()
    schema = yaml.safe_load((CONFIG / "schemas" / "config.yaml").read_text())
    defaults = yaml.safe_load(text)
    analysis = yaml.safe_load((CONFIG / "schemas" / "analysis.yaml").read_text())
    return "\n\n".join(
        (
            "# Every setting",
            "`config/config.yaml` with comments. A study's own file (`--config-file`) holds what differs.",
            f"```yaml\n{text}```",
            "## What each may be",
            _table(("setting", "may be", "default"), _rows(schema["properties"], defaults)),
            "## An analysis",
            "An item of `analyses`. [Models and their validation](../modelling.md) says what they are for.",
            _described(analysis["properties"]),
        )
    )


def networks_page() -> str:
    """The networks of the registry, and what an entry may say."""
    models = yaml.safe_load((CONFIG / "models.yaml").read_text())
    schema = yaml.safe_load((CONFIG / "schemas" / "model.yaml").read_text())
    rows = [
        (f"`{name}`", entry["title"], entry["task"], entry["licence"], entry["not_for"])
        for name, entry in models.items()
    ]
    return "\n\n".join(
        (
            "# The registry of networks",
            _table(("name", "what it is", "task", "licence", "not for"), rows),
            "Cards: " + ", ".join(f"[{name}](card-{name}.md)" for name in _own()) + ".",
            "## What an entry says",
            _described(schema["properties"]),
        )
    )


def benchmarks_page() -> str:
    """What the benchmarks printed when they were last run by `make bench`."""
    parts = [
        "# Benchmarks as printed",
        "`make bench` and its parts write these. [Measured](../measured.md) reads them.",
    ]
    for path in sorted((REPOSITORY / "docs" / "benchmarks").glob("*.txt")):
        parts += [f"## {path.stem}", f"```text\n{path.read_text()}```"]
    return "\n\n".join(parts) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "options.md": options_page,
    "settings.md": settings_page,
    "registry.md": networks_page,
    "benchmarks.md": benchmarks_page,
}


def write_pages(folder: Path) -> None:
    """Write all of them into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page() + "\n")
    for name in _own():
        (folder / f"card-{name}.md").write_text(
            "---\norphan: true\n---\n" + (REPOSITORY / "models" / name / "README.md").read_text()
        )


def _own() -> list[str]:
    """Networks of the project's own, which have a card."""
    return sorted(card.parent.name for card in REPOSITORY.glob("models/*/README.md"))


def _with_subcommands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def _command(parser: argparse.ArgumentParser) -> list[str]:
    # The cache folder of whoever builds the pages is no default of anybody else.
    text = parser.format_help().replace(str(Path.home()), "~")
    return [f"## {parser.prog}", f"```text\n{text}```"]


def _rows(
    properties: Mapping[str, Any], defaults: Mapping[str, Any], before: str = ""
) -> Iterator[tuple[str, str, str]]:
    """A row for each setting, those inside another by its name and theirs."""
    for name, schema in properties.items():
        default = defaults.get(name)
        if "properties" in schema:
            yield from _rows(schema["properties"], default or {}, f"{before}{name}.")
        else:
            yield f"`{before}{name}`", _kind(schema), f"`{_yaml(default)}`" if name in defaults else ""


def _described(properties: Mapping[str, Any]) -> str:
    """Table of the fields of a schema that describes them."""
    rows = [
        (
            f"`{name}`",
            field.get("description", ""),
            _kind(field),
            f"`{_yaml(field['default'])}`" if "default" in field else "",
        )
        for name, field in properties.items()
    ]
    return _table(("field", "what it is", "may be", "default"), rows)


def _kind(schema: Mapping[str, Any]) -> str:
    """What a value may be."""
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1].removesuffix(".yaml")
    kinds = schema.get("type", "mapping" if "properties" in schema else "any")
    text = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    text = text.replace("array", "list").replace("object", "mapping").replace("null", "nothing")
    if "items" in schema:
        text += f" of {_kind(schema['items'])}"
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    bounds = [
        f"from {low}" if low is not None else "",
        f"to {schema['maximum']}" if "maximum" in schema else "",
    ]
    return " ".join([text, *filter(None, bounds)])


def _yaml(value: Any) -> str:
    """A value as one would write it into a study's file."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
