"""Where each figure of the page came from."""

from __future__ import annotations

from hwsearch.report.study.facts import Facts
from hwsearch.report.study.section import MissingFactsError, Section, Table
from hwsearch.report.study.words import nats

TITLE = "Where every figure comes from"

#: Devices whose milliseconds nobody measured on this model.
HOW = {
    "measured": "operators timed on the device itself",
    "published": "a roofline fitted to published passes",
    "modelled": "a roofline from data sheets, with no accuracy claimed",
}


def provenance(facts: Facts) -> Section:
    """One row a kind of figure: what it is, how it came about, from where."""
    columns = ("figure", "kind", "how it came about", "kept in")
    rows = (*_searched(facts), _predicted(facts), *_measured(facts), *_derived(facts))
    return Section("provenance", TITLE, tables=(Table(columns, rows, "Figures and their sources"),))


def _searched(facts: Facts) -> list[tuple[str, ...]]:
    record, study = facts.record, facts.study
    noise = "not measured" if study.noise is None else f"{nats(study.noise)} nats"
    kept = f"study {study.name}"
    return [
        (
            f"loss ({record.loss_name})",
            "computed",
            f"compressed and uncompressed model on the same calibration states ({record.task_choice.words}); "
            f"a plan's decoding is priced by its answers; noise of rounding: {noise}",
            kept,
        ),
        ("weights", "computed", "codes and scales of the linears, float32 for the rest", kept),
        (
            "passes",
            "counted",
            "on calibration questions that the compressed model answered itself; by the schedule where "
            "the text does not matter",
            kept,
        ),
    ]


def _predicted(facts: Facts) -> tuple[str, ...]:
    record = facts.record
    try:
        device = facts.device
    except MissingFactsError as missing:
        return ("predicted time", "predicted", str(missing), "device folder")
    info = device.info
    how = f"sum of operators: {HOW[info.provenance.value]} ({info.runtime}, {info.threads} threads)"
    calibration = info.calibration(str(record.model))
    if calibration is None:
        how += "; no whole model was run, so sums are taken as they are"
    else:
        how += (
            f"; calibrated on {calibration.refresh.plans} whole-model runs, mean error of the fit "
            f"{calibration.refresh.mape:.1%} for a refresh and {calibration.step.mape:.1%} for a step"
        )
    return ("predicted time", f"predicted, device {info.provenance.value}", how, str(device.folder))


def _measured(facts: Facts) -> list[tuple[str, ...]]:
    if not facts.outcomes:
        return [
            ("measured time, accuracy", "measured", f"none yet: `{facts.export_command()}`", "")
        ]
    last = facts.outcomes[-1]
    machine = last.environment.get("processor", "an unnamed processor")
    problems = len(last.correct)
    return [
        (
            "measured time",
            "measured",
            f"whole answers of the exported bundles, side by side, in the mean over questions; on {machine}, "
            f"{last.finished or 'date unknown'}, by `{last.command}`",
            f"study {facts.study.name}; bundles {', '.join(sorted({o.bundle for o in facts.outcomes}))}",
        ),
        (
            "accuracy",
            "measured",
            f"exact match of the exported bundles' answers to {problems} test problems; 95 % interval by "
            "Wilson (1927), differences on the same problems by Newcombe (1998)",
            f"study {facts.study.name}",
        ),
    ]


def _derived(facts: Facts) -> list[tuple[str, ...]]:
    study = f"study {facts.study.name}"
    rows: list[tuple[str, ...]] = [
        (
            "time by layer and operator",
            "predicted",
            "the predicted time, taken apart: it is a sum",
            "study and device folder",
        ),
        (
            "other devices",
            "predicted",
            "the same plan and passes on every device that is known here; each point says whether its device "
            "was measured, published or modelled",
            "latency_tables",
        ),
        (
            "kept shares, sinks",
            "computed",
            "how often positions were attention sinks while the uncompressed model answered calibration "
            "questions",
            study,
        ),
    ]
    if facts.study.finalists is not None:
        kept = facts.study.finalists
        rows.append(
            (
                "finalists' accuracy",
                "measured",
                f"exact match in torch on {kept['problems']} {kept['split']} problems, 95 % interval by "
                "Wilson (1927)",
                study,
            )
        )
    return rows
