"""The registry of networks: what there is, and what of it is in the models folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from voxelome.app.config import explain, merge
from voxelome.errors import InputError, blame, listed, suggest
from voxelome.imageio import load_yaml
from voxelome.provenance import workflow_root
from voxelome.segmentation.cards import CARD, damaged_files, load_card, network_digest
from voxelome.segmentation.spec import parse_spec

Entry = dict[str, Any]
# Raised where a framework's networks are converted otherwise than before, so that they are fetched again.
CONVERSIONS = {"deepbet": 2}
NAME = "a letter, then letters and digits, because it becomes an entity of file names"
SEE = "see config/schemas/model.yaml for what is allowed"
# Frameworks of which a network may have several members.
ENSEMBLES = ("onnx", "torchscript", "nnunet")
SOURCES = ("package", "url", "folder", "bundled")


def default_registry() -> Path:
    """The registry that comes with voxelome."""
    return workflow_root() / "config" / "models.yaml"


def registry(own: Path | None = None) -> dict[str, Entry]:
    """Entries by name, each checked, with its name in it.

    Parameters
    ----------
    own : path, optional
        A registry of the user, of the same form; its entries are put over those of the same name, part by
        part (a source, inputs and labels as a whole).

    Raises
    ------
    InputError
        An entry is not as the schema says, or contradicts itself; names the file, the entry and the field.
    """
    entries = load_yaml(default_registry())
    sources = dict.fromkeys(entries, default_registry())
    if own is not None:
        for name, changes in load_yaml(own).items():
            if not isinstance(changes, dict):
                raise InputError(
                    own, f"the entry {name} holds no fields", "write 'field: value' lines below it"
                )
            entries[name] = _put_over(entries.get(name, {}), _anchored(changes, own))
            sources[name] = own
    return {name: _checked(str(name), entry, sources[name]) for name, entry in entries.items()}


def _put_over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Entry:
    """An entry with another's fields over its own."""
    merged = merge(base, changes)
    if "source" in changes:
        merged["source"] = changes["source"]
    if "labels" in changes.get("outputs", {}):
        merged["outputs"]["labels"] = changes["outputs"]["labels"]
    return merged


def _anchored(changes: Mapping[str, Any], own: Path) -> Entry:
    """The entry with its folder, if it has one, starting at that of the registry."""
    source = changes.get("source")
    if not isinstance(source, dict) or not isinstance(source.get("folder"), str):
        return dict(changes)
    folder = (own.resolve().parent / Path(source["folder"]).expanduser()).resolve()
    return {**changes, "source": {**source, "folder": str(folder)}}


def _checked(name: str, entry: Mapping[str, Any], source: Path) -> Entry:
    """The entry with its name, keys as text; what cannot be right is refused."""
    if not (name.isascii() and name.isalnum() and name[0].isalpha()):
        raise InputError(source, f"{name!r} cannot name a model", f"take {NAME}")
    plain = _with_text_keys(entry)
    check_fields(plain, source, name)
    kinds = [kind for kind in SOURCES if kind in plain["source"]]
    if len(kinds) != 1:
        problem = f"{name}.source has {' and '.join(kinds) or 'nothing to take files from'}"
        raise InputError(source, problem, f"give exactly one of {', '.join(SOURCES)}")
    url, files = str(plain["source"].get("url", "")), plain.get("files", [])
    if url and (not files or (not url.endswith("/") and len(files) > 1)):
        problem = f"{name}.files names {len(files)} files, and source.url is that of one"
        remedy = "name the files of a url with size and sha256; end the url of a folder with a slash"
        raise InputError(source, problem, remedy)
    if "members" in plain and plain["framework"] not in ENSEMBLES:
        problem = f"{name}.members chooses among files, and a network of {plain['framework']} is one"
        raise InputError(source, problem, f"leave it out; it is for {listed(ENSEMBLES)}")
    whole = {"name": name, **plain}
    if "inputs" in plain and "outputs" in plain:
        check_network(whole, source)
    return whole


def _with_text_keys(value: Any) -> Any:
    """The same with every key as text: YAML reads the label 1 as a number."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(part) for key, part in value.items()}
    return [_with_text_keys(part) for part in value] if isinstance(value, list) else value


@cache
def entry_schema() -> dict[str, Any]:
    """JSON Schema of an entry."""
    return load_yaml(workflow_root() / "config" / "schemas" / "model.yaml")


def check_fields(entry: Mapping[str, Any], source: Path | str, name: str) -> None:
    """Raise an InputError that names the first field of an entry that the schema does not allow."""
    errors = Draft202012Validator(entry_schema()).iter_errors(dict(entry))
    first = min(errors, key=lambda error: [str(part) for part in error.absolute_path], default=None)
    if first is not None:
        raise InputError(source, *explain(first, noun="field", see=SEE, prefix=name))


def check_network(entry: Mapping[str, Any], source: Path | str) -> None:
    """Raise an InputError where the inputs and outputs of an entry contradict themselves or each other."""
    name = entry["name"]
    with blame(source):
        spec = parse_spec(entry)
    for item in spec.inputs:
        if item.rule == "percentile" and not item.low < item.high:
            problem = f"{name}: the percentiles of input {item.label} go from {item.low:g} to {item.high:g}"
            raise InputError(source, problem, "give low and high, low below high")
    twice = [label for label, count in Counter(spec.labels.values()).items() if count > 1]
    if twice:
        raise InputError(source, f"{name}: two labels are named {twice[0]!r}", "give each a name of its own")


def pick(entries: Mapping[str, Entry], name: str) -> Entry:
    """Entry of one model; an unknown name is an InputError with the nearest that there is."""
    if name not in entries:
        raise InputError(name, "there is no such model", suggest(name, list(entries)))
    return entries[name]


def state(entry: Mapping[str, Any], models_dir: Path) -> str:
    """Whether a model is in the models folder: ``ready``, ``absent``, ``damaged`` or ``outdated``.

    It is outdated where it is whole, but fetched by another entry than the registry has now, or converted
    otherwise.
    """
    name = str(entry["name"])
    if not (models_dir / name / CARD).is_file():
        return "absent"
    if damaged_files(models_dir, name):
        return "damaged"
    return "ready" if load_card(models_dir, name).get("entry_sha256") == entry_digest(entry) else "outdated"


def entry_digest(entry: Mapping[str, Any]) -> str:
    """Digest of an entry, wherever its files come from: a mirror's are the same."""
    fields = {key: value for key, value in entry.items() if key != "source"}
    return network_digest({**fields, "conversion": CONVERSIONS.get(str(entry.get("framework")), 1)})


def fetched(models_dir: Path) -> list[str]:
    """Names of the models that are in a folder."""
    return sorted(path.parent.name for path in models_dir.glob(f"[!.]*/{CARD}"))


def size(entry: Mapping[str, Any], models_dir: Path) -> int | None:
    """Bytes of a model's files: of those in the models folder, else of those to fetch; None if not known."""
    here = [path for path in (models_dir / str(entry["name"])).glob("**/*") if path.is_file()]
    if here:
        return sum(path.stat().st_size for path in here)
    return sum(file["size"] for file in entry["files"]) if "files" in entry else None
