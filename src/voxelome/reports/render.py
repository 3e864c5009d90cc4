"""Reports as HTML: one self-contained page each, that loads nothing and runs only scripts of its own."""

from __future__ import annotations

import base64
import itertools
import re
import struct
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from voxelome.reports import lights, viewer, wording
from voxelome.reports.model import Figure, GroupReport, SubjectReport

_ICONS = {
    "green": "\N{BLACK CIRCLE}",
    "amber": "\N{BLACK UP-POINTING TRIANGLE}",
    "red": "\N{BLACK DIAMOND}",
    "done": "\N{CHECK MARK}",
    "warning": "!",
    "failed": "\N{MULTIPLICATION X}",
    "not run": "\N{EN DASH}",
    "unusable file": "!",
}


def render_subject(report: SubjectReport) -> str:
    """Page of one participant as HTML; the same report gives the same text."""
    status, sentence = wording.subject_status(report)
    impossible = [
        (session.name, wording.step_name(session, step), what, why)
        for session in report.sessions
        for step in session.steps
        for what, why in step.skipped
    ]
    return render_page(
        "subject.html",
        report=report,
        status=status,
        sentence=sentence,
        notices=wording.subject_notices(report),
        lights=lights.traffic_lights(report),
        impossible=impossible,
        policy=viewer.policy(viewer.script("viewer.js"), viewer=True) if report.scenes else viewer.policy(),
    )


def render_group(report: GroupReport) -> str:
    """Page of the group as HTML; participants with failures come first."""
    status, sentence = wording.group_status(report)
    rows = sorted(report.rows, key=lambda row: (wording.status_rank(row.status), natural(row.subject)))
    return render_page(
        "group.html",
        report=report,
        status=status,
        sentence=sentence,
        rows=rows,
        policy=viewer.policy(viewer.script("rating.js")),
    )


def render_page(template: str, **content: Any) -> str:
    """Fill a template; figures are numbered through the page."""
    numbers = itertools.count(1)
    content.setdefault("policy", viewer.policy())
    return str(_environment().get_template(template).render(next_number=numbers.__next__, **content))


def natural(text: str) -> list[tuple[int, int | str]]:
    """Key that sorts sub-2 before sub-10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"([0-9]+)", text) if part]


@cache
def _environment() -> Environment:
    """Jinja environment: everything is escaped, and a name that is missing is an error."""
    environment = Environment(
        loader=PackageLoader("voxelome.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader = environment.loader
    assert loader is not None
    environment.globals["style"] = Markup(loader.get_source(environment, "style.css")[0])
    environment.globals["icons"] = _ICONS
    environment.globals["rating_script"] = viewer.script("rating.js")
    environment.globals["light_words"] = lights.WORDS
    environment.globals["viewer_library"] = viewer.library
    environment.globals["viewer_script"] = viewer.script("viewer.js")
    environment.filters |= {
        "value": wording.show_value,
        "seconds": wording.show_seconds,
        "png": _data_uri,
        "size": _pixels,
        "svg": _plot,
        "base64": _base64,
        "described": viewer.described,
        "alt": _alternative,
        "local": _local,
        "count": wording.plural,
        "measure": _measure,
        "step_name": wording.step_name,
        "analysis_sentence": wording.analysis_sentence,
        "verdict": wording.analysis_verdict,
        "caution": wording.analysis_caution,
    }
    return environment


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + _base64(png)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _pixels(png: bytes) -> tuple[int, int]:
    """Width and height in the header of a PNG file, so that the page does not jump while it loads."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def _plot(figure: Figure) -> Markup:
    """SVG of a figure as it is: :mod:`voxelome.reports.plots` has escaped the text inside."""
    return Markup(figure.svg or "")


def _alternative(figure: Figure) -> str:
    return f"{figure.title}. {figure.caption}".strip()


def _local(href: str) -> str:
    """Address if it is a relative one, else nothing: a name must not become a script or leave the folder."""
    return href if re.fullmatch(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*(#[A-Za-z0-9_-]+)?", href) else ""


def _measure(item: tuple[Any, ...]) -> tuple[str, str]:
    """Name, and value with its unit."""
    name, value, *unit = item
    text = wording.show_value(value)
    return str(name), f"{text} {unit[0]}" if unit and unit[0] and text != "n/a" else text
