"""Bill of materials of an environment, as each image carries it: ``python -m voxelome.bill`` prints it."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from typing import Any


def bill_of_materials() -> dict[str, Any]:
    """Return the installed packages with versions and licences as CycloneDX 1.5, sorted by name."""
    packages = {str(item.metadata["Name"]).lower(): item for item in metadata.distributions()}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "components": [_component(packages[name]) for name in sorted(packages)],
    }


def _component(package: metadata.Distribution) -> dict[str, Any]:
    fields, name = package.metadata, package.metadata["Name"]
    found: dict[str, Any] = {
        "type": "library",
        "name": name,
        "version": package.version,
        "purl": f"pkg:pypi/{name.lower().replace('_', '-')}@{package.version}",
    }
    # Older packages put a whole licence's text there.
    licence = next((fields[key] for key in ("License-Expression", "License") if key in fields), "")
    if licence and "\n" not in licence:
        found["licenses"] = [{"license": {"name": licence}}]
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(bill_of_materials(), indent=1) + "\n")
