"""Names of template spaces, as users write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from voxelome.errors import InputError, suggest

MNI = "MNI152NLin2009aSym"
RESOLUTIONS = (1, 2)
_TEMPLATE_FILE = re.compile(r"(?:tpl-(?P<name>[A-Za-z0-9]+))?.*?\.nii(?:\.gz)?$")


@dataclass(frozen=True)
class Space:
    """A template space.

    Attributes
    ----------
    name : str
        Label for the entity ``space``.
    resolution : int
        Voxel size in mm of the space that comes with voxelome.
    path : str
        File of a template that the user names; empty for the one that comes with voxelome.
    """

    name: str
    resolution: int = 0
    path: str = ""

    @property
    def contrast(self) -> str:
        """Suffix of the template's image, such as T1w; of a file with another name, what stands there."""
        return Path(self.path).name.split(".")[0].rsplit("_", 1)[-1] if self.path else "T1w"

    @property
    def brain_mask(self) -> Path:
        """Where the brain mask of a template's file lies, as TemplateFlow names it; it may not exist."""
        path = Path(self.path)
        stem = path.name.split(".")[0]
        base = stem.rsplit("_", 1)[0] if stem.startswith("tpl-") and "_" in stem else stem
        return path.with_name(f"{base}_desc-brain_mask.nii.gz")

    @property
    def files(self) -> list[Path]:
        """Files that the space is made from: the user's template, and its brain mask if there is one."""
        paths = [Path(self.path), self.brain_mask] if self.path else []
        return [path for path in paths if path.is_file()]


def absolute_space(text: str, folder: Path | None = None) -> str:
    """Name of a space, or the full path of a template's file: steps run in the work folder."""
    return parse_space(text, folder).path or text


def parse_space(text: str, folder: Path | None = None) -> Space:
    """Space of a name such as ``MNI152NLin2009aSym:res-2``, or of a template's file.

    A file without a full path is looked for in `folder`, or in the current one.

    Raises
    ------
    InputError
        There is no such name and no such file.

    Examples
    --------
    >>> parse_space("MNI152NLin2009aSym:res-1")
    Space(name='MNI152NLin2009aSym', resolution=1, path='')
    """
    name, _, resolution = text.partition(":res-")
    if name == MNI:
        if resolution not in ("", *map(str, RESOLUTIONS)):
            raise InputError(text, "there is no such resolution", f"use {MNI}:res-1 or {MNI}:res-2")
        return Space(MNI, int(resolution or 2))
    path = (folder or Path()) / Path(text).expanduser()
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(text, "is no template space", f"{suggest(name, [MNI])} Or give a template's file")
    if not path.is_file():
        raise InputError(path, "there is no such template", "check the name")
    match = _TEMPLATE_FILE.match(path.name)
    named = match["name"] if match else None
    return Space(named or re.sub("[^A-Za-z0-9]", "", path.name.split(".")[0]), path=str(path.resolve()))


def parse_spaces(texts: list[str]) -> list[Space]:
    """Spaces of several names.

    Raises
    ------
    InputError
        One is unknown, or two have one label, so that their images would have one name.
    """
    spaces = [parse_space(text) for text in texts]
    for space, text in zip(spaces, texts, strict=True):
        if sum(other.name == space.name for other in spaces) > 1:
            raise InputError(
                text, f"two output spaces are called {space.name}", "name one, or rename its file"
            )
    return spaces
