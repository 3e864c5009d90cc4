"""Software bill of materials of an environment, out of its pins."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import uuid
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from packaging.markers import Marker
from packaging.utils import canonicalize_name

import voxelome
from voxelome.errors import ExitCode, InputError, exit_code
from voxelome.provenance import workflow_root

# A namespace of our own, so that the same pins give the same serial number.
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/voxelome")
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+_-]+)(?:\s*;\s*(.+))?")


class Pin(NamedTuple):
    """A package, its one version, and the marker of the machines that it is for (empty: all)."""

    name: str
    version: str
    marker: str

    @property
    def wanted(self) -> bool:
        """Whether this machine and this Python install it."""
        return not self.marker or Marker(self.marker).evaluate()


def read_pins(path: Path) -> list[Pin]:
    """Pins of a file such as ``envs/qsm.txt``, in its order.

    Raises
    ------
    InputError
        There is no such file, or a line is no pin to one version.
    """
    if not path.is_file():
        known = sorted(item.stem for item in path.parent.glob("*.txt"))
        raise InputError(path, "there is no such environment", f"there are: {', '.join(known)}")
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    pins = []
    for line in filter(None, lines):
        match = _PIN.fullmatch(line)
        if match is None:
            raise InputError(path, f"holds {line!r}, which pins no version", "write name==version")
        pins.append(Pin(canonicalize_name(match[1]), match[2], match[3] or ""))
    return pins


def bill_of_materials(path: Path) -> dict[str, Any]:
    """CycloneDX 1.6 document of the packages that an environment installs on this machine.

    The same pins give the same document: there is no time in it, and its serial number is a digest.

    Parameters
    ----------
    path : path
        Pins, such as ``envs/qsm.txt``.

    Notes
    -----
    Licences are those that the installed package of the same version names; of others none is given.
    """
    pins = [pin for pin in read_pins(path) if pin.wanted]
    told = "\n".join(f"{pin.name}=={pin.version}" for pin in pins)
    components = [_component(pin) for pin in pins]
    root = {
        "type": "application",
        "bom-ref": "voxelome",
        "name": f"voxelome-{path.stem}",
        "version": voxelome.__version__,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    digest = hashlib.sha256(told.encode()).hexdigest()
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{voxelome.__version__}:{path.stem}:{digest}')}",
        "version": 1,
        "metadata": {"component": root},
        "components": components,
        "dependencies": [{"ref": "voxelome", "dependsOn": [item["bom-ref"] for item in components]}],
    }


def _component(pin: Pin) -> dict[str, Any]:
    url = f"pkg:pypi/{pin.name}@{pin.version}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": url,
        "name": pin.name,
        "version": pin.version,
        "purl": url,
    }
    licence = _licence(pin)
    return {**component, "licenses": [licence]} if licence else component


def _licence(pin: Pin) -> Mapping[str, Any] | None:
    """Licence that the installed package names: an SPDX expression (PEP 639), or else its own words."""
    try:
        about = metadata.metadata(pin.name)
    except metadata.PackageNotFoundError:
        return None
    if about["Version"] != pin.version:
        return None
    if about["License-Expression"]:
        return {"expression": about["License-Expression"]}
    named = [
        line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if line.startswith("License")
    ]
    words = named[0] if named else (about["License"] or "").strip().partition("\n")[0]
    return {"license": {"name": words}} if words else None


def write_bill(environment: str) -> int:
    """Write the bill of materials of an environment in ``envs/`` to standard output; return the exit code."""
    bill = bill_of_materials(workflow_root() / "envs" / f"{environment}.txt")
    sys.stdout.write(json.dumps(bill, indent=2) + "\n")
    return ExitCode.DONE


if __name__ == "__main__":
    # An image of one stage has nothing of what the command lines need.
    sys.exit(exit_code("voxelome.app.sbom", lambda: write_bill(sys.argv[1] if len(sys.argv) > 1 else "lock")))
