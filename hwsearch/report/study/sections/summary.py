"""What was asked, and what was found."""

from __future__ import annotations

import math

from hwsearch.report.study.facts import Chosen, Facts
from hwsearch.report.study.section import MissingFactsError, Section, Tile
from hwsearch.report.study.words import (
    formats_words,
    megabytes,
    ms,
    ms_span,
    nats,
    number,
    percent,
    percent_span,
    target_words,
)
from hwsearch.study.records.outcome import Outcome
from hwsearch.tasks.statistics import compare

TITLE = "What was asked, and what was found"


def summary(facts: Facts) -> Section:
    """Plan, time and accuracy in a few sentences and numbers."""
    chosen, baseline = facts.chosen, facts.baseline
    words = (
        asked(facts),
        *measured_target(chosen, baseline, facts.study.target_ms),
        found(facts, chosen),
        *accuracy_words(facts, chosen, baseline),
    )
    return Section("summary", TITLE, words, tiles=tuple(tiles(facts, chosen, baseline)))


def asked(facts: Facts) -> str:
    """What the search was for."""
    study, record = facts.study, facts.record
    where = f"{record.model} on {record.device}"
    if study.objective.is_multi_objective:
        return (
            f"Asked: all plans of {where} that no other beats in both loss and cost; "
            f"{tried(facts)}. What is within the {facts.predicted_target} meets it."
        )
    limits = [f"a {facts.predicted_target} a generation"]
    if record.max_bytes is not None:
        limits.append(f"{megabytes(record.max_bytes)} of weights")
    if record.max_joules is not None:
        limits.append(f"{number(record.max_joules)} J")
    return (
        f"Asked: the plan of {where} that loses the least accuracy within {' and '.join(limits)}; "
        f"{tried(facts)}."
    )


def measured_target(chosen: Chosen, baseline: Chosen | None, predicted_ms: float) -> list[str]:
    """What measured times are held against, where that is another number than predicted ones are."""
    mine = chosen.outcome
    if mine is None or math.isclose(mine.target_ms, predicted_ms, rel_tol=1e-6):
        return []
    theirs = None if baseline is None else baseline.outcome
    said = f"Measured times are held against a {target_words(ms(mine.target_ms), 'measured')}"
    if theirs is None:
        return [f"{said}."]
    share = percent(mine.target_ms / theirs.measured_ms)
    return [
        f"{said}: {share} of what the uncompressed model took when it was measured. The search could only "
        "take that share of what it was predicted to take."
    ]


def tried(facts: Facts) -> str:
    """How many plans were tried."""
    said = [f"{len(facts.frame)} plans were tried"]
    if facts.study.stopped:
        said.append(f"{facts.study.stopped} more stopped early")
    if facts.study.failures:
        said.append(f"{len(facts.study.failures)} failed")
    return ", ".join(said)


def found(facts: Facts, chosen: Chosen) -> str:
    """Which plan, and how long it takes."""
    name = "a plan" if chosen.number is None else f"trial {chosen.number}"
    said = (
        f"Found: {name} ({chosen.why}). It decodes by {facts.decoding(chosen.plan)}, with "
        f"{formats_words(chosen.plan)}."
    )
    uniform = facts.best_uniform
    if uniform is not None and uniform.plan == chosen.plan:
        said += " It is the best uniform plan itself: no plan that treats layers differently was better."
    return f"{said} {_time(facts, chosen)}"


def _time(facts: Facts, chosen: Chosen) -> str:
    outcome = chosen.outcome
    if outcome is None:
        row = facts.row(chosen.plan)
        assert row is not None, "what was not measured is a trial"
        meets = "meets" if row["generation_ms"] <= facts.study.target_ms else "misses"
        return (
            f"It is predicted to take {ms(row['generation_ms'])}{_within(facts, chosen)}, which {meets} "
            f"the {facts.predicted_target}. Neither its time nor its accuracy was measured: "
            f"`{facts.export_command(None if facts.trial is None else chosen.number)}` does both."
        )
    return (
        f"It was predicted to take {ms(outcome.predicted_ms)} a generation and was measured at "
        f"{ms(outcome.measured_ms)}: {over(outcome)} the {target_words(ms(outcome.target_ms), 'measured')}."
    )


def _within(facts: Facts, chosen: Chosen) -> str:
    """The interval of a prediction in brackets; nothing where it is unknown."""
    try:
        ends = facts.latency(chosen).intervals_ms
    except MissingFactsError:
        return ""
    return "" if ends is None else f" (10th to 90th percentile {ms_span(ends.generation)})"


def over(outcome: Outcome) -> str:
    """How a measured time stands to its target."""
    share = outcome.measured_ms / outcome.target_ms - 1.0
    return f"{abs(share):.1%} {'above' if share > 0 else 'below'}"


def accuracy_words(facts: Facts, chosen: Chosen, baseline: Chosen | None) -> list[str]:
    """How much faster it is, and how many answers it gets right, beside the uncompressed model."""
    mine = chosen.outcome
    if mine is None:
        return []
    problems = len(mine.correct)
    said = (
        f"It solves {percent(mine.accuracy)} of {problems} test problems "
        f"(95 % interval {percent_span(*mine.interval)})"
    )
    theirs = None if baseline is None else baseline.outcome
    if theirs is None:
        number = None if baseline is None else baseline.number
        return [
            f"{said}. The uncompressed model was not measured beside it: "
            f"`{facts.export_command(number, 'uncompressed')}` does so."
        ]
    said += (
        f"; the uncompressed model solves {percent(theirs.accuracy)} ({percent_span(*theirs.interval)}) "
        f"and takes {ms(theirs.measured_ms)}, {theirs.measured_ms / mine.measured_ms:.1f} times as long."
    )
    if len(theirs.correct) == problems:
        against = compare(mine.solved, theirs.solved)
        low, high = (100 * end for end in against.interval)
        said += (
            f" On the same problems the difference is {100 * against.difference:+z.1f} points "
            f"({low:+z.1f} to {high:+z.1f})."
        )
    return [said]


def tiles(facts: Facts, chosen: Chosen, baseline: Chosen | None) -> list[Tile]:
    """The numbers of a decision."""
    row, outcome = facts.row(chosen.plan), chosen.outcome
    theirs = None if baseline is None else baseline.outcome
    shown = []
    if outcome is not None:
        shown += [
            Tile("measured", ms(outcome.measured_ms),
                 f"{target_words(ms(outcome.target_ms), 'measured')}; prediction {ms(outcome.predicted_ms)}"),
            Tile("accuracy", percent(outcome.accuracy), f"95 %: {percent_span(*outcome.interval)}"),
        ]  # fmt: skip
    elif row is not None:
        shown.append(Tile("predicted", ms(row["generation_ms"]), facts.predicted_target))
    if outcome is not None and theirs is not None:
        times = theirs.measured_ms / outcome.measured_ms
        detail = f"than the uncompressed model, {ms(theirs.measured_ms)}"
        shown.append(Tile("times faster", f"{times:.1f}", detail))
    if row is not None:
        noise = facts.study.noise
        detail = "noise was not measured" if noise is None else f"noise {nats(noise)}"
        shown.append(Tile("loss", f"{nats(row['loss'])} nats", detail))
        shown.append(Tile("weights", megabytes(row["size_bytes"]), _bytes_before(facts, baseline)))
        shown.append(Tile("passes", f"{row['passes']:.1f}", "forward passes of a generation"))
    return shown


def _bytes_before(facts: Facts, baseline: Chosen | None) -> str:
    row = None if baseline is None else facts.row(baseline.plan)
    return "" if row is None else f"uncompressed {megabytes(row['size_bytes'])}"
