"""The official BIDS validator, where it is installed: what it finds, as a short table."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from voxelome.imageio import save_text
from voxelome.interfaces.tables import save_table

# What to do about the errors that datasets of MRI most often have; the validator's own words are long.
_REMEDIES = {
    "NOT_INCLUDED": "rename it as BIDS names such files, or name it in .bidsignore",
    "EMPTY_FILE": "put the whole file back, or remove it",
    "PARTICIPANT_ID_MISMATCH": "give participants.tsv a row for each sub- folder, and no other",
    "MISSING_DATASET_DESCRIPTION": "add dataset_description.json with Name and BIDSVersion",
    "NIFTI_HEADER_UNREADABLE": "convert the image again",
}
_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """An error that the validator found.

    Attributes
    ----------
    file : str
        Path in the dataset.
    rule : str
        The validator's code, with the field that it concerns.
    remedy : str
    """

    file: str
    rule: str
    remedy: str


def validate(bids_dir: Path, folder: Path) -> list[str]:
    """Run the validator; return sentences about what it found.

    Parameters
    ----------
    bids_dir : path
    folder : path
        Of the run's logs: ``bids-validation.json`` gets the validator's own answer, ``bids-validation.tsv``
        its errors as a table.
    """
    beside = str(Path(sys.executable).parent)
    program = shutil.which("bids-validator-deno", path=beside) or shutil.which("bids-validator-deno")
    if program is None:
        return ["BIDS validation: not done, bids-validator-deno is not installed."]
    # Of longer tables it reads a thousand rows by itself, and takes all other participants for missing.
    done = subprocess.run(
        [program, str(bids_dir), "--format", "json", "--ignoreWarnings", "--max-rows", "-1"],
        capture_output=True,
        text=True,
        check=False,
    )
    log = folder / "bids-validation.json"
    save_text(log, done.stdout or done.stderr)
    try:
        findings = findings_of(json.loads(done.stdout)["issues"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return [f"BIDS validation: the validator gave no answer; see {log}"]
    if not findings:
        return ["BIDS validation: no errors."]
    columns = [field.name for field in fields(Finding)]
    table = save_table(log.with_suffix(".tsv"), columns, map(asdict, findings))
    return [
        f"BIDS validation: {len(findings)} error(s); the run goes on. All of them: {table}",
        *_shown(findings),
    ]


def findings_of(issues: Mapping[str, Any]) -> list[Finding]:
    """Errors in the validator's answer, each once."""
    found = []
    for issue in issues["issues"]:
        if issue.get("severity") == "error":
            field = issue.get("subCode", "")
            rule = f"{issue['code']} {field}".strip()
            words = issues.get("codeMessages", {}).get(issue["code"], "")
            found.append(Finding(issue.get("location", "").lstrip("/"), rule, _remedy(issue, words)))
    # A value that fits none of several schemas is an error of each; the first says enough.
    return list({(finding.file, finding.rule): finding for finding in reversed(found)}.values())[::-1]


def _remedy(issue: Mapping[str, Any], words: str) -> str:
    """What to do about an error."""
    code, field = issue["code"], issue.get("subCode", "")
    message = " ".join(str(issue.get("issueMessage", "")).split("Field description:")[0].split())
    if code in _REMEDIES:
        return _REMEDIES[code]
    if code.endswith("KEY_REQUIRED"):
        return f"add {field} to its JSON file"
    if field and message:
        return f"mend {field}: it {message}"
    return message or " ".join(words.split()).split(". ")[0]


def _shown(findings: Sequence[Finding]) -> list[str]:
    """A line for each rule that is broken, those broken most often first, with the first file."""
    counts = Counter(finding.rule for finding in findings)
    first: dict[str, Finding] = {}
    for finding in findings:
        first.setdefault(finding.rule, finding)
    lines = [
        f"  {first[rule].file or 'the dataset'}{f' and {count - 1} more' if count > 1 else ''}: {rule}; "
        f"{first[rule].remedy}"
        for rule, count in counts.most_common(_SHOWN)
    ]
    return [*lines, *([f"  and {len(counts) - _SHOWN} more rule(s)"] if len(counts) > _SHOWN else [])]
