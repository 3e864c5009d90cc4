"""Files of an ensemble's members, and the names that they get in the models folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxelome.errors import InputError, listed


def member_files(source: Path, entry: Mapping[str, Any], endings: Sequence[str]) -> dict[str, Path]:
    """File of each member by its name as ONNX, in their order.

    Members in folders of their own, such as ``fold0/model.pt``, keep them: files there often have one name.

    Parameters
    ----------
    source : path
        File, or folder; of a folder the files that the entry names as ``members``, or else under ``files``,
        or else all in it.
    entry : mapping
        Registry entry.
    endings : sequence of str
        Of the files' names.

    Raises
    ------
    InputError
        There is no file, or two would get one name.
    """
    if source.is_file():
        return {f"{source.stem}.onnx": source}
    fetched = [str(item["path"]) for item in entry.get("files", ())]
    names = entry.get("members") or [name for name in fetched if name.endswith(tuple(endings))]
    names = names or sorted(path.name for path in source.glob("*") if path.suffix in endings)
    if not names:
        problem = f"holds no file that ends in {' or '.join(endings)}"
        raise InputError(source, problem, "name those in folders further down under members in the entry")
    members = [Path(name).with_suffix(".onnx").as_posix() for name in names]
    twice = [member for member, count in Counter(members).items() if count > 1]
    if twice:
        problem = f"holds several files for the member {listed(twice)}"
        raise InputError(source, problem, "give the members names of their own")
    return {member: source / name for member, name in zip(members, names, strict=True)}
