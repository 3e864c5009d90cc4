"""The configuration of a run: defaults, the study's file, the command line; checked against its schema."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource

from voxelome.errors import InputError, suggest
from voxelome.imageio import load_yaml, save_text
from voxelome.provenance import workflow_root


def default_config() -> dict[str, Any]:
    """Every setting and its default."""
    return load_yaml(workflow_root() / "config" / "config.yaml")


def merge(base: Mapping[str, Any], *changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of `base` with those of `changes` put over them, section by section.

    Examples
    --------
    >>> merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}})
    {'a': {'b': 4, 'c': 2}, 'd': 3}
    """
    merged = deepcopy(dict(base))
    for change in changes:
        for key, value in change.items():
            old = merged.get(key)
            merged[key] = (
                merge(old, value) if isinstance(old, dict) and isinstance(value, dict) and old else value
            )
    return merged


def check_config(config: Mapping[str, Any], source: Path | str) -> None:
    """Raise an InputError that names the first setting of `source` that the schema does not allow."""
    folder = workflow_root() / "config" / "schemas"
    schema = load_yaml(folder / "config.yaml")
    analysis = Resource.from_contents(load_yaml(folder / "analysis.yaml"))
    registry: Registry[Any] = Registry().with_resource("analysis.yaml", analysis)
    errors = Draft202012Validator(schema, registry=registry).iter_errors(dict(config))
    first = min(errors, key=lambda error: [str(part) for part in error.absolute_path], default=None)
    if first is not None:
        raise InputError(source, *explain(first))
    names = [analysis["name"] for analysis in config.get("analyses", [])]
    if len(set(names)) < len(names):
        raise InputError(source, "two analyses have one name", "give each a name of its own")


def explain(
    error: ValidationError,
    whole: str = "the configuration",
    noun: str = "setting",
    see: str = "see config/config.yaml for what is allowed",
    prefix: str = "",
) -> tuple[str, str]:
    """Problem and remedy that a schema's complaint comes to, in the words of a user.

    Parameters
    ----------
    error : ValidationError
    whole : str
        What the file as a whole is.
    noun : str
        What its parts are.
    see : str
        Where to read what is allowed.
    prefix : str
        Where in its file that lies which was validated.
    """
    where = ".".join([*([prefix] if prefix else []), *(str(part) for part in error.absolute_path)])
    schema: Any = error.schema
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = list(schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in known)
        name = f"{where}.{unknown}" if where else str(unknown)
        return f"there is no {noun} {name!r}", suggest(str(unknown), known)
    if error.validator in ("required", "dependentRequired"):
        return f"{where or whole}: {error.message}", "add it"
    return f"{noun} {where!r}: {error.message}", see


def save_config(path: Path, config: Mapping[str, Any]) -> Path:
    """Write a configuration as YAML; one that has not changed keeps its file."""
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        save_text(path, text)
    return path
