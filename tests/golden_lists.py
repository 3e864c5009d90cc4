"""Lists of what a run leaves (tests/golden); VOXELOME_WRITE_GOLDEN=1 writes them anew, to see in the diff."""

import os
from pathlib import Path

_FOLDER = Path(__file__).parent / "golden"


def made_by(out: Path) -> list[str]:
    """Files of an output folder, without logs and work."""
    paths = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    return sorted(str(path) for path in paths if path.parts[0] not in ("logs", ".voxelome"))


def golden(name: str, made: list[str]) -> list[str]:
    """The files that a run should leave."""
    path = _FOLDER / f"{name}.txt"
    if os.environ.get("VOXELOME_WRITE_GOLDEN"):
        path.write_text("".join(f"{line}\n" for line in made))
    return path.read_text().splitlines()
