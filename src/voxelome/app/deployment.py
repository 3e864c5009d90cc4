"""Where the jobs of a run go: its Snakemake profile, and whether its steps run in images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from voxelome.errors import InputError, suggest
from voxelome.imageio import load_yaml
from voxelome.provenance import workflow_root

PROFILE = "config.yaml"
_METHOD_OPTIONS = ("--software-deployment-method", "--deployment-method", "--deployment", "--sdm")
_FLAGS = ("--use-apptainer", "--use-singularity")
_APPTAINER = ("apptainer", "singularity")


def find_profile(given: Path | None) -> Path | None:
    """Folder of a profile: one of the user's, or of those that come with voxelome, by name.

    Raises
    ------
    InputError
        There is no such profile.
    """
    if given is None:
        return None
    shipped = workflow_root() / "config" / "profiles"
    for folder in (given.expanduser(), shipped / given):
        if (folder / PROFILE).is_file():
            return folder.resolve()
    known = sorted(path.parent.name for path in shipped.glob(f"*/{PROFILE}"))
    remedy = suggest(str(given), known)
    raise InputError(given, f"holds no profile of Snakemake ({PROFILE})", remedy)


def profile_options(profile: Path | None) -> dict[str, Any]:
    """Options of Snakemake that a profile sets, by their long names without dashes before them."""
    return load_yaml(profile / PROFILE) if profile else {}


def uses_images(profile: Path | None, extra: Sequence[str]) -> bool:
    """Whether the steps of a run are to be run in images.

    Parameters
    ----------
    profile : path, optional
        Folder of the profile.
    extra : sequence of str
        Options of Snakemake from the command line, which go before the profile's.
    """
    given = _methods(extra)
    if given is None:
        options = profile_options(profile)
        names = [f"--{name}" for name, value in options.items() if value]
        if any(flag in names for flag in _FLAGS):
            return True
        values = [options.get(name.removeprefix("--")) for name in _METHOD_OPTIONS]
        given = [
            str(item) for value in values if value for item in (value if isinstance(value, list) else [value])
        ]
    return any(method in _APPTAINER for method in given)


def _methods(extra: Sequence[str]) -> list[str] | None:
    """Deployment methods that a command line names; None where it names none."""
    found: list[str] | None = None
    taking = False
    for word in extra:
        name, _, value = word.partition("=")
        if word.startswith("-"):
            taking = name in _METHOD_OPTIONS
            if taking or name in _FLAGS:
                found = [
                    *(found or []),
                    *([value] if value else []),
                    *(["apptainer"] if name in _FLAGS else []),
                ]
        elif taking:
            found = [*(found or []), word]
    return found


def cluster_resources(account: str | None, partition: str | None, profile: Path | None) -> tuple[str, ...]:
    """Options of Snakemake that put jobs into a partition and charge an account of Slurm.

    Raises
    ------
    InputError
        The profile does not send jobs to Slurm.
    """
    wanted = {"slurm_account": account, "slurm_partition": partition}
    given = {name: value for name, value in wanted.items() if value}
    options = profile_options(profile)
    if given and options.get("executor") != "slurm":
        raise InputError(
            "--account, --partition", "belong to Slurm", "give --profile slurm, or a profile of yours"
        )
    if not given:
        return ()
    # Given on the command line, they replace those of the profile: its others are repeated.
    own = options.get("default-resources") or {}
    own = dict(item.split("=", 1) for item in own) if isinstance(own, list) else own
    return ("--default-resources", *(f"{name}={value}" for name, value in {**own, **given}.items()))
