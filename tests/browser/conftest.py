"""A real browser without a screen; where it or its driver is not there, tests are skipped with the reason."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NODE = shutil.which("node")


@dataclass
class Visit:
    """What came of opening a page: the result of each action, and what should not have happened."""

    results: list[Any]
    console: list[str]
    requests: list[str]


def open_page(page: Path, *actions: list[Any], webgl: bool = True) -> Visit:
    """Open a page and do actions (see open.mjs) one after the other."""
    environment = {**os.environ, **({} if webgl else {"WITHOUT_WEBGL": "1"})}
    done = subprocess.run(
        [NODE, HERE / "open.mjs", CHROMIUM, page, json.dumps(actions)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return Visit(**json.loads(done.stdout))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip this folder's tests where there is no browser."""
    missing = [
        words
        for found, words in (
            (CHROMIUM, "there is no chromium"),
            (NODE, "there is no node"),
            (
                (HERE / "node_modules" / "playwright-core").is_dir(),
                "make test-browser has not set up playwright-core",
            ),
        )
        if not found
    ]
    for item in items:
        if missing and HERE in Path(item.fspath).parents:
            item.add_marker(pytest.mark.skip(reason="; ".join(missing)))
