"""The interactive viewer inside a page: niivue, its volumes, and what the page's policy lets run.

niivue is vendored, as its npm package has it: a report is one file that loads nothing, it is made on
nodes without a network, and an installed wheel has no npm. A test compares the file with its checksum.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from voxelome.reports.canvas import COLOURS
from voxelome.reports.model import Scene

NIIVUE = "@niivue/niivue 0.69.0"
NIIVUE_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"


@cache
def library() -> str:
    """Return niivue, compressed, as base64: a browser unpacks it only when the viewer starts."""
    source = files("voxelome.reports").joinpath("vendor", "niivue.umd.js").read_bytes()
    return _base64(gzip.compress(source, compresslevel=9, mtime=0))


def script(name: str) -> Markup:
    """Script of this package that a page runs."""
    return Markup(files("voxelome.reports").joinpath("templates", name).read_text(encoding="utf-8"))


def policy(*scripts: str, viewer: bool = False) -> str:
    """Content security policy: only scripts of these texts run, and nothing is loaded from anywhere.

    The viewer unpacks niivue into a blob of the page itself.
    """
    hashes = [f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'" for text in scripts]
    rules = ["default-src 'none'", "img-src data: blob:" if viewer else "img-src data:"]
    rules.append("style-src 'unsafe-inline'")
    if hashes:
        rules.append(" ".join(["script-src", *hashes, *(["blob:"] if viewer else [])]))
    return "; ".join(rules)


def described(scenes: Sequence[Scene]) -> Markup:
    """JSON for a script element: all on the scenes but the volumes, which have elements of their own."""
    content: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, 1):
        layers = [
            {
                "name": layer.name,
                "kind": layer.kind,
                "volume": f"volume-{number}-{place}",
                "window": layer.window,
                "unit": layer.unit,
                "labels": [
                    {"value": value, "name": text, "colour": COLOURS[rank % len(COLOURS)]}
                    for rank, (value, text) in enumerate(sorted(layer.names.items()))
                ],
            }
            for place, layer in enumerate(scene.layers, 1)
        ]
        content.append({"name": scene.name, "note": scene.note, "layers": layers})
    # Inside a script element only these could end it.
    text = json.dumps(content, ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
