"""What the long tests of images and clusters last passed with: `python -m tests.containers.passed NAME`.

They take longer than all others together, so that `.ci/run` calls them only where what they test is not what
they passed with. It is kept in passed.yaml, which they write.
"""

import hashlib
import sys
from pathlib import Path

from tests.conftest import ROOT
from voxelome.imageio import load_yaml, save_text

RECORD = Path(__file__).with_name("passed.yaml")
# Numerics have tests of their own, and so has what the command line says; these are of how steps are packed,
# sent and started.
COMMON = (
    *("config/containers.yaml", "config/profiles", "rules", "Snakefile", "scripts"),
    *("tests/containers/conftest.py", "tests/containers/machine.py"),
    *(f"src/voxelome/{name}.py" for name in ("images", "app/deployment", "app/snakemake", "bids/mounts")),
)
TESTED = {
    "containers": (
        *(*COMMON, "containers", "envs", "pyproject.toml"),
        *("tests/containers/test_images.py", "tests/containers/start-docker.sh"),
    ),
    "slurm": (*COMMON, "tests/containers/test_slurm.py"),
    "grid-engine": (*COMMON, "tests/containers/test_grid_engine.py", "tests/containers/start-grid-engine.sh"),
    "lsf": (*COMMON, "tests/containers/test_lsf.py", "tests/containers/stand_in_lsf.py"),
}


def digest_of(name: str) -> str:
    """Digest of what a test is of: the text of all files, and their names."""
    files = [
        path
        for part in TESTED[name]
        for path in (sorted((ROOT / part).rglob("*")) if (ROOT / part).is_dir() else [ROOT / part])
        if path.is_file() and "__pycache__" not in path.parts
    ]
    found = hashlib.sha256()
    for path in files:
        found.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def passed() -> dict[str, str]:
    """Digests by name of the test."""
    return load_yaml(RECORD) if RECORD.is_file() else {}


def record(name: str) -> None:
    """Keep that a test has passed."""
    known = {**passed(), name: digest_of(name)}
    lines = [f"{each}: {digest!r}\n" for each, digest in sorted(known.items())]
    save_text(RECORD, "# Made by the tests in this folder (passed.py).\n" + "".join(lines))


def main() -> int:
    """Return 0 where what a test is of is what it last passed with, and say so."""
    name = sys.argv[1]
    same = passed().get(name) == digest_of(name)
    sys.stdout.write(f"{name}: {'passed with what is here' if same else 'what it tests has changed'}\n")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
