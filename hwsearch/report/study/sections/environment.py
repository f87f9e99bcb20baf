"""Machines and versions behind the figures."""

from __future__ import annotations

from collections.abc import Mapping

from hwsearch.latency.devices.environment import environment
from hwsearch.report.study.facts import Facts
from hwsearch.report.study.section import MissingFactsError, Section, Table

TITLE = "Environment"


def machines(facts: Facts) -> Section:
    """One column a machine: the timed device, the search, the measurement, this page."""
    columns = {
        "timed device": _device(facts),
        "search": facts.record.environment or {},
        "measurement": facts.outcomes[-1].environment if facts.outcomes else {},
        "this page": environment(),
    }
    known = {name: found for name, found in columns.items() if found}
    keys = list(dict.fromkeys(key for found in known.values() for key in found))
    rows = tuple((key, *(found.get(key, "") for found in known.values())) for key in keys)
    missing = [name for name in columns if name not in known]
    words = (f"Not kept: {', '.join(missing)}.",) if missing else ()
    table = Table(("", *known), rows, "Machines and versions")
    return Section("environment", TITLE, words, tables=(table, _searched(facts)))


def _device(facts: Facts) -> Mapping[str, str]:
    try:
        info = facts.device.info
    except MissingFactsError:
        return {}
    known = {**info.environment, "device": f"{info.name}: {info.description}"}
    return {**known, "runtime": f"{info.runtime}, {info.threads} threads"}


def _searched(facts: Facts) -> Table:
    """What the study was about, by name and by digest."""
    record = facts.record
    rows = [
        ("model", str(record.model)),
        ("device", str(record.device)),
        ("task", record.task_choice.words),
        ("loss", record.loss_name),
        ("objective", record.objective_kind.value),
        *((f"{part} (digest)", value[:16]) for part, value in (record.content or {}).items()
          if part in ("weights", "settings", "questions", "device figures")),
        *((part, value) for part, value in (record.content or {}).items() if part == "code"),
    ]  # fmt: skip
    return Table(("", "study"), tuple(rows), "What was searched")
