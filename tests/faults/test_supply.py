"""What is installed is pinned and named; what is read from others runs no code."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from voxelome.app.sbom import bill_of_materials, read_pins
from voxelome.errors import InputError

ENVIRONMENTS = sorted(path.stem for path in (ROOT / "envs").glob("*.yaml"))
SOURCES = [*(ROOT / "src").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_line_of_an_environment_is_a_pin_that_the_lock_has_too(name: str):
    own, lock = read_pins(ROOT / "envs" / f"{name}.txt"), read_pins(ROOT / "envs" / "lock.txt")
    assert len(own) > 20
    # mirp needs a newer SciPy than antspyx allows: its environment has versions of its own.
    if name != "radiomics-ibsi":
        assert {pin[:2] for pin in own} <= {pin[:2] for pin in lock}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_for_conda_has_the_same_pins(name: str):
    content = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())
    assert content["channels"] == ["conda-forge", "nodefaults"]
    *others, pip = content["dependencies"]
    assert others == ["python =3.11", "pip"]
    lines = (line.split("#")[0].strip() for line in (ROOT / "envs" / f"{name}.txt").read_text().splitlines())
    assert [line.replace('"', "'") for line in pip["pip"]] == list(filter(None, lines))


def test_a_line_that_pins_no_version_is_refused(tmp_path: Path):
    for line in ("numpy>=2", "numpy", "git+https://example.org/x", "numpy==2.*"):
        (tmp_path / "a.txt").write_text(f"{line}\n")
        with pytest.raises(InputError, match="pins no version"):
            read_pins(tmp_path / "a.txt")
    with pytest.raises(InputError, match="there are: a"):
        read_pins(tmp_path / "b.txt")


@pytest.mark.parametrize("name", ["qsm", "lock"])
def test_the_bill_of_materials_has_every_package_that_is_installed_here_once(name: str):
    command = [sys.executable, "-m", "voxelome.app.sbom", name]
    bill = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert bill == bill_of_materials(ROOT / "envs" / f"{name}.txt")
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bill["serialNumber"])
    urls = [item["purl"] for item in bill["components"]]
    assert len(urls) == len(set(urls))
    names = [item["name"] for item in bill["components"]]
    assert len(names) == len(set(names))
    assert "torch" not in names
    assert bill["dependencies"] == [{"ref": "voxelome", "dependsOn": urls}]
    known = [item for item in bill["components"] if "licenses" in item]
    assert len(known) > 0.9 * len(names)


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_runs_code_that_a_file_of_others_holds(path: Path):
    tree = ast.parse(path.read_text())
    for name, call in calls(tree):
        given = {item.arg: ast.unparse(item.value) for item in call.keywords}
        assert name not in ("eval", "exec", "compile", "os.system", "os.popen"), name
        assert not re.fullmatch(
            r"(c?[Pp]ickle|dill|cloudpickle|joblib|shelve|marshal)\.(loads?|open|Unpickler)", name
        )
        assert not name.endswith("read_pickle")
        assert name not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load")
        assert given.get("allow_pickle", "False") == "False"
        assert given.get("shell", "False") == "False"
        if name == "torch.load":
            assert given.get("weights_only") == "True"
        if name == "skops.io.load":
            assert given.get("trusted") == "list(TRUSTED_TYPES)"


def test_the_one_unpickler_resolves_names_of_its_list_and_no_others():
    classes = [
        (path.name, node.name)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any("Unpickler" in ast.unparse(base) for base in node.bases)
    ]
    # tests/numerics/test_brain_extraction.py gives it pickles that call what they should not.
    assert classes == [("torchscript.py", "_Reader")]
