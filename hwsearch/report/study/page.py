"""Sections → one HTML page that needs no other file and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Final

from markupsafe import Markup

from hwsearch._version import __version__
from hwsearch.errors import HwsearchError
from hwsearch.report.study.charts import DARK
from hwsearch.report.study.drawing import inline_svg
from hwsearch.report.study.facts import Facts
from hwsearch.report.study.section import MissingFactsError, Section
from hwsearch.report.study.sections import (
    accuracy,
    commands,
    devices,
    environment,
    front,
    measured,
    plan,
    progress,
    provenance,
    sinks,
    spent,
    summary,
)

#: The sections in the order of their use: address, heading, builder.
SECTIONS: Final[Mapping[str, tuple[str, Callable[[Facts], Section]]]] = {
    "summary": (summary.TITLE, summary.summary),
    "front": (front.TITLE, front.front),
    "plan": (plan.TITLE, plan.plan),
    "spent": (spent.TITLE, spent.spent),
    "measured": (measured.TITLE, measured.measured),
    "accuracy": (accuracy.TITLE, accuracy.accuracy),
    "sinks": (sinks.TITLE, sinks.sinks),
    "progress": (progress.TITLE, progress.progress),
    "devices": (devices.TITLE, devices.devices),
    "provenance": (provenance.TITLE, provenance.provenance),
    "environment": (environment.TITLE, environment.machines),
    "commands": (commands.TITLE, commands.commands),
}


def sections_of(facts: Facts) -> list[Section]:
    """Every section; one whose facts the study does not hold says so."""
    return [_built(key, title, build, facts) for key, (title, build) in SECTIONS.items()]


def _built(key: str, title: str, build: Callable[[Facts], Section], facts: Facts) -> Section:
    try:
        return build(facts)
    except MissingFactsError as missing:
        return Section(key, title, missing=str(missing))
    except HwsearchError as error:
        return Section(key, title, missing=f"What is kept cannot be read: {error}.")


def html(facts: Facts, sections: Sequence[Section]) -> str:
    """The page. Raises `InputError` where the package that draws is not installed."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    templates = Environment(
        loader=PackageLoader("hwsearch.report"),
        autoescape=select_autoescape(("html", "j2")),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _asset("study.js")
    return templates.get_template("study.html.j2").render(
        name=facts.study.name,
        record=facts.record,
        sections=sections,
        # drawn from plain data by vl-convert, which escapes text: it is markup already
        drawings={f.name: Markup(inline_svg(f)) for s in sections for f in s.figures},
        style=Markup(_asset("study.css") + colours()),
        script=Markup(script),
        script_hash=_csp_hash(script),
        version=__version__,
    )


def colours() -> str:
    """Rules that give a figure's colours their dark counterparts where the page is dark."""
    rules = [
        f"svg [{of}='{light}' i]{{{of}:{dark}}}"
        for light, dark in DARK.items()
        for of in ("fill", "stroke")
    ]
    return "\n@media screen and (prefers-color-scheme: dark){\n" + "\n".join(rules) + "\n}\n"


def _asset(name: str) -> str:
    return (resources.files("hwsearch.report") / "templates" / name).read_text(encoding="utf-8")


def _csp_hash(script: str) -> str:
    """What a content security policy calls the one script that may run."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
