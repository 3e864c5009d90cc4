"""What a stage's code imports is in the stage's environment, and so in its image."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest

from tests.conftest import ROOT
from voxelome.images import STEPS
from voxelome.parsed import PACKAGE, module_file

HOMES = packages_distributions()


def needed(module: str) -> set[str]:
    """Packages that the import of one of voxelome's modules takes, by their plain names."""
    path = module_file(module)
    assert path is not None
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {PACKAGE.name}


def loaded(modules: set[str]) -> set[str]:
    """Modules of voxelome that the import of these takes; those that a function imports wait for its call."""
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen or module_file(name) is None:
            continue
        seen.add(name)
        for node in ast.parse(module_file(name).read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE.name):
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return seen


def pinned(stage: str) -> set[str]:
    lines = (ROOT / "envs" / f"{stage}.txt").read_text().splitlines()
    names = (re.match(r"[\w.-]+", line) for line in lines)
    return {plain(name[0]) for name in names if name}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("stage", STEPS)
def test_a_step_imports_only_what_its_stage_has_pinned(stage: str):
    modules = loaded({f"voxelome.interfaces.{step}" for step in STEPS[stage]})
    missing = {
        f"{module}: {package}"
        for module in modules
        for package in needed(module)
        if not pinned(stage) & {plain(name) for name in HOMES.get(package, [package])}
    }
    assert not missing


# PyRadiomics comes as source alone: its images compile it, and the others take nothing to compile.
COMPILING = (
    "# PyRadiomics comes as source: it is compiled here, where the compiler stays.\n"
    "RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev python3-dev\n"
)


@pytest.mark.parametrize("stage", STEPS)
def test_the_recipes_of_the_stages_differ_by_their_names_and_the_compiler_alone(stage: str):
    recipes = [(ROOT / "containers" / name / "Containerfile").read_text() for name in ("qsm", stage)]
    first, other = (
        re.sub(rf"\b{re.escape(name)}\b", "STAGE", text)
        for name, text in zip(("qsm", stage), recipes, strict=True)
    )
    if stage.startswith("radiomics"):
        assert COMPILING in other
        other = other.replace(COMPILING, "").replace("--prefer-binary", "--only-binary :all:")
    assert other == first
