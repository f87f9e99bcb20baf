"""The commands that come to the same figures."""

from __future__ import annotations

from hwsearch.report.study.facts import Facts
from hwsearch.report.study.section import Section

TITLE = "The commands that reproduce it"


def commands(facts: Facts) -> Section:
    """What to call, in order; the study file too, where there was one."""
    record, chosen = facts.record, facts.chosen
    called: dict[str, str] = {}
    if record.study_file is not None and record.command is not None:
        called[f"The study, as {record.command.removeprefix('hwsearch search ')}"] = (
            record.study_file
        )
    called["Search"] = record.command or facts.search_again()
    measured = dict.fromkeys(outcome.command for outcome in facts.outcomes)
    for command in measured:
        if command != record.command:
            called[f"Export, time and score {len(called)}"] = command
    if not measured:
        called["Export, time and score the plan"] = facts.export_command(
            None if facts.trial is None else chosen.number
        )
    bundle = "bundle" if chosen.outcome is None else chosen.outcome.bundle
    called["Check the bundle"] = f"hwsearch verify {bundle}"
    called["Print the front"] = f"hwsearch front {facts.argument}"
    called["Write this page"] = f"hwsearch report {facts.argument} -o report.html --overwrite"
    return Section("commands", TITLE, commands=called)
