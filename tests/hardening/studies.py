"""A study with attributes and trials that nobody of ours wrote, and what reads it, without a database.

`databases` changes rows by SQL; reading one takes a third of a second, most of it in the libraries below.
What rows hold is changed here, in a study that stands in for the one that Optuna would read them into.
"""

from __future__ import annotations

import json
from unittest import mock

from tests.hardening import mutators
from tests.hardening.places import Place, Reader, seed

#: What stands in place of an attribute.
VALUES = (
    None, "", "x", "{}", "[]", "[[1]]", '"x"', "{", True, False, 0, -1, 3, 2**62, -(2**63), 10**400, 0.5,
    -0.0, 1e308, 5e-324, float("inf"), -float("inf"), float("nan"), [], {}, [1], [[]], {"a": 1},
    "a" * 100_000, "\0", "\ud800", [0] * 20_000, "COMPLETE", "gsm-mini", "../x",
)  # fmt: skip


def make_study(folder):
    """A study with trials of every kind, outcomes and finalists, and its device, in ``s.db``."""
    import optuna

    from hwsearch.latency.devices.device import Provenance, load_device
    from hwsearch.latency.devices.folder import write_device
    from hwsearch.study.goal import Goal
    from hwsearch.study.records.record import update_record
    from hwsearch.study.run import run_study
    from tests.study.test_run import make_objective

    objective = make_objective(Goal(target_ratio=1.0))
    info = objective.predictor.device.info.model_copy(
        update={"provenance": Provenance.MEASURED, "environment": {"processor": "a formula"}}
    )
    device = load_device(write_device(info, objective.predictor.device.costs, folder / "tables"))
    study = run_study(objective, trials=3, name="s", storage=str(folder / "s.db"), sampler="random")
    marks = [f"{trial.number % 2}1011" for trial in study.optuna.get_trials()[:2]]
    scored = [
        {"number": n, "loss": 0.1 * n, "generation_ms": 1.0 + n, "correct": marks[n]} for n in (0, 1)
    ]  # fmt: skip
    update_record(
        study.optuna,
        device_folder=str(device.folder),
        watts=5.0,
        max_joules=1e6,
        loss_noise_nats=1e-6,
        environment={"processor": "a box"},
        command="hwsearch search s.toml",
        study_file="trials = 3",
        finalists={
            "target_ms": study.target_ms, "trials": len(study.frame()) + 1, "split": "validation",
            "problems": 5, "winner": 0, "finalists": scored,
        },
        outcomes=[_outcome(name, study.plan(0)) for name in ("baseline", "winner")],
    )  # fmt: skip
    params = study.optuna.get_trials()[0].params
    study.optuna.enqueue_trial(params)
    for state, attributes in (
        (optuna.trial.TrialState.FAIL, {"failure": "its loss is NaN"}),
        (optuna.trial.TrialState.PRUNED, {"estimated_values": [0.5], "estimated_spread": 0.1}),
    ):
        trial = study.optuna.ask()
        study.space.suggest(trial)
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        study.optuna.tell(trial, state=state)
    study.optuna.ask()
    study.optuna._storage._backend.engine.dispose()


def _outcome(name, plan):
    return {
        "name": name, "title": name, "plan": plan.model_dump(mode="json"), "predicted_ms": 3.0,
        "predicted_10_90_ms": [2.5, 3.5], "measured_ms": 2.9, "target_ms": 4.0, "predicted_passes": 8.0,
        "measured_passes": 8.0, "tokens_per_second": 100.0, "correct": "0110", "size_bytes": 1000,
        "bundle": "out", "command": "hwsearch demo", "environment": {"processor": "a box"}, "finished": "",
    }  # fmt: skip


class KeptStudy:
    """What stands in for an Optuna study: it hands out what a document says."""

    def __init__(self, document, distributions):
        from optuna.study import StudyDirection
        from optuna.trial import FrozenTrial, TrialState

        self.study_name, self.user_attrs = "s", document["study"]
        self.directions = [StudyDirection.MINIMIZE]
        self._trials = [
            FrozenTrial(
                number=number, trial_id=number, state=TrialState[one["state"]], value=None,
                values=one["values"], datetime_start=None, datetime_complete=None, params=one["params"],
                distributions={name: distributions[name] for name in one["params"] if name in distributions},
                user_attrs=one["attributes"], system_attrs={}, intermediate_values={},
            )
            for number, one in enumerate(document["trials"])
        ]  # fmt: skip

    def get_trials(self, deepcopy=True, states=None):
        return [one for one in self._trials if states is None or one.state in states]


def _document(path):
    from hwsearch.study import load_study

    study = load_study(str(path)).optuna
    trials = [
        {"state": one.state.name, "values": one.values, "params": one.params, "attributes": one.user_attrs}
        for one in study.get_trials()
    ]  # fmt: skip
    return {"study": study.user_attrs, "trials": trials}


def _place(folder):
    found = _document(seed("study", make_study) / "s.db")
    (folder / "study.json").write_text(json.dumps(found))
    return Place(folder / "study.json")


def study_changed(content, chance):
    """An attribute of the study or of a trial changed, or a trial."""
    found = json.loads(content)
    where = chance.random()
    trial = chance.choice(found["trials"])
    if where < 0.6:
        _changed(found["study"], chance)
    elif where < 0.85 and trial["attributes"]:
        _changed(trial["attributes"], chance)
    elif where < 0.9:
        found["trials"].remove(trial)
    elif where < 0.95:
        trial["state"] = chance.choice(("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"))
        trial["values"] = chance.choice(
            (None, [], [1.0], [0.0, 1.0], [float("nan")], [float("inf")], [1e308])
        )
    elif trial["params"]:
        name = chance.choice(sorted(trial["params"]))
        trial["params"][name] = chance.choice((-1, 0, 1, 7, 2**40))
        if chance.random() < 0.3:
            del trial["params"][name]
    return json.dumps(found).encode()


def _changed(attributes, chance):
    name = chance.choice(sorted(attributes))
    value, kind = attributes[name], chance.random()
    if kind < 0.1:
        del attributes[name]
    elif kind < 0.35:
        attributes[name] = chance.choice(VALUES)
    elif isinstance(value, str) and value.startswith("{"):
        change = chance.choice((*mutators.JSON, *[mutators.json_changed] * 8))
        attributes[name] = change(value.encode(), chance).decode("utf-8", "replace")
    else:
        changed = mutators.json_changed(json.dumps([value]).encode(), chance)
        attributes[name] = (json.loads(changed) or [None])[0]


def _study(path):
    from hwsearch.study.records.study import checked_study

    document = json.loads(path.read_bytes())
    sound = seed("study", make_study)
    return checked_study(KeptStudy(document, _distributions(sound / "s.db")))


_KNOWN = {}


def _distributions(path):
    from hwsearch.study import load_study

    if path not in _KNOWN:
        _KNOWN[path] = load_study(str(path)).space.distributions()
    return _KNOWN[path]


def read_kept(study):
    """All that a study keeps beside its trials, each part as its schema has it."""
    from hwsearch.study.records.outcome import outcomes_of

    kept = study.record
    lengths = (kept.prompt_length, kept.suffix_length)
    parts = (kept.decoding_value, kept.task_choice, kept.loading, kept.verdict)
    return lengths, parts, kept.sink_profile, kept.model_geometry, outcomes_of(kept)


def read_front(study):
    """What `hwsearch front` and reports ask of a study."""
    from hwsearch.cli.studies.front import front_rows, front_title, noise_line

    asked = (front_title(study), noise_line(study.noise), study.failures, study.stopped)
    return front_rows(study), asked


def read_target(study):
    """What `hwsearch front --target-ms` and exports ask of a study."""
    from hwsearch.study import resolve

    return resolve(study, study.target_ms), study.best_plan, study.passes()


def read_page(study):
    """What `hwsearch report` makes of a study, but for the drawing and other devices than its own."""
    from hwsearch.report.study.facts import Facts
    from hwsearch.report.study.page import sections_of

    facts = Facts(study, "s")
    _ = facts.chosen
    with mock.patch("hwsearch.report.study.sections.devices.device_folders", dict):
        sections = sections_of(facts)
    return json.dumps([figure.spec for one in sections for figure in one.figures])


READS = (
    ("as it is opened", read_kept, 1.0),
    ("its front", read_front, 0.25),
    ("another target", read_target, 0.05),
    ("its report", read_page, 0.03),
)

STUDIES: dict[str, Reader] = {
    f"study, {name}": Reader(
        _place, lambda path, read=read: read(_study(path)), (study_changed,), share
    )
    for name, read, share in READS
}
