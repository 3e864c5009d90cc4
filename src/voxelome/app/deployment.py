"""Where the jobs of a run go: its Snakemake profile, and whether its steps run in images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from voxelome.errors import InputError, suggest
from voxelome.imageio import load_yaml
from voxelome.memory import memory_free
from voxelome.provenance import workflow_root

PROFILE = "config.yaml"
# How often a job that failed is tried again where a profile does not say it.
RETRIES = 1
LOCAL = "local"
_EXECUTOR_OPTIONS = ("--executor", "-e")
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


def executor(profile: Path | None, extra: Sequence[str]) -> str:
    """Name of what Snakemake gives the jobs of a run to: ``local``, or the plugin of a cluster.

    Parameters
    ----------
    profile : path, optional
        Folder of the profile.
    extra : sequence of str
        Options of Snakemake from the command line, which go before the profile's.
    """
    given = _values(extra, _EXECUTOR_OPTIONS)
    return given[-1] if given else str(profile_options(profile).get("executor", LOCAL))


def retries(profile: Path | None) -> int:
    """How often a job that failed is tried again."""
    options = profile_options(profile)
    return int(options.get("retries", options.get("restart-times", RETRIES)))


def memory_limit(given: int | None, profile: Path | None, extra: Sequence[str]) -> int | None:
    """Megabytes that the jobs of a run may take together; None where a cluster, or the profile, sees to it.

    Parameters
    ----------
    given : int, optional
        By the user. On this machine it is otherwise what is free.
    profile : path, optional
        Folder of the profile.
    extra : sequence of str
        Options of Snakemake from the command line.
    """
    if given or executor(profile, extra) != LOCAL or "resources" in profile_options(profile):
        return given
    return memory_free() // 2**20


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
    flags = ["apptainer" for word in extra if word in _FLAGS]
    named = _values(extra, _METHOD_OPTIONS)
    return None if named is None and not flags else [*(named or []), *flags]


def _values(extra: Sequence[str], options: Sequence[str]) -> list[str] | None:
    """Values that a command line gives one of these options; None where it gives none of them."""
    found: list[str] | None = None
    taking = False
    for word in extra:
        name, _, value = word.partition("=")
        if word.startswith("-"):
            taking = name in options
            if taking:
                found = [*(found or []), *([value] if value else [])]
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
