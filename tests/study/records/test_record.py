"""What a study keeps of itself: written, read back, and read as older versions wrote it."""

import json
import math

import optuna
import pytest
from pydantic import ValidationError

from hwsearch.errors import StudyError
from hwsearch.plan import Decoding
from hwsearch.study import ObjectiveKind, SearchSpace
from hwsearch.study.records.outcome import outcomes_of
from hwsearch.study.records.record import StudyRecord, update_record
from hwsearch.study.records.study import as_study
from hwsearch.study.records.trial_record import TrialRecord
from hwsearch.tasks.choice import TaskChoice

SPACE = SearchSpace(num_layers=1)
DECODING = Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=2)

#: As the first version wrote a study.
OLD = {
    "model": "gsm-mini",
    "device": "cpu",
    "space": SPACE.model_dump_json(),
    "workload": json.dumps({"prompt_length": 27}),
    "decoding": DECODING.model_dump_json(),
    "target_ms": 150.0,
    "max_bytes": None,
    "first_ms": 200,
    "costs": {"head": {"0": 0.0, "1": -1.5}},
}


def written(tmp_path, attributes):
    storage = f"sqlite:///{tmp_path / 's.db'}"
    study = optuna.create_study(study_name="s", storage=storage)
    for name, value in attributes.items():
        study.set_user_attr(name, value)
    return optuna.load_study(study_name="s", storage=storage)


def test_an_older_study_opens_with_what_it_has(tmp_path):
    study = as_study(written(tmp_path, OLD))
    record = study.record
    assert (study.space, study.target_ms, study.objective) == (SPACE, 150.0, ObjectiveKind.LOSS)
    assert (record.prompt_length, record.decoding_value, record.loss_name) == (27, DECODING, "kl")
    assert record.costs == {"head": {0: 0.0, 1: -1.5}}
    assert record.content is None and not record.ready and study.energy is None
    with pytest.raises(StudyError, match="sizes"):
        record.kept("sizes")


def test_every_attribute_is_read_as_it_was_written(tmp_path):
    values = {
        **OLD,
        "device_folder": "/d", "loss": "nll", "objective": "energy-front", "power": "5 W",
        "content": {"weights": "abc"}, "content_since": 3, "max_bytes": 9, "max_joules": 2.5,
        "watts": 5.0, "first_bytes": 11.0, "sizes": {"head": {"0": 0.0}},
        "cost_terms": [{"names": ["head"], "values": [0.0, -1.5]}],
        "size_terms": [{"names": ["head"], "values": [0.0]}],
        "task": TaskChoice(task="gsm8k", num_shots=0).model_dump_json(),
        "model_options": '{"dtype": "bfloat16"}',
        "sensitivities": {"layers": [], "head": {"w8": 1e-5}, "passes": 9.0},
        "loss_noise_nats": 1e-4, "finalists": {"winner": 3}, "ready": True,
        "geometry": {"num_layers": 1}, "sinks": {"passes": 1}, "environment": {"cores": "2"},
        "command": "hwsearch search s.toml", "study_file": "trials = 3", "outcomes": [{"name": "winner"}],
    }  # fmt: skip
    assert values.keys() == StudyRecord.model_fields.keys()
    study = written(tmp_path, {})
    update_record(study, **values)
    fresh = optuna.load_study(study_name="s", storage=study._storage)
    assert fresh.user_attrs == values, "names and values lie on disk as given"
    record = StudyRecord.of(fresh)
    assert record.task_choice.words == "gsm8k, 0 shots" and record.loading.dtype == "bfloat16"
    found = record.model_dump(mode="json")
    assert json.loads(json.dumps(found)) == values


def test_what_is_not_ours_is_refused_and_what_is_not_known_left_alone(tmp_path):
    study = written(tmp_path, {**OLD, "note": "somebody's own"})
    assert as_study(study).record.model == "gsm-mini"
    with pytest.raises(AssertionError, match="targt_ms"):
        update_record(study, targt_ms=1.0)
    study.set_user_attr("target_ms", "soon")
    with pytest.raises(StudyError, match="study s was not written by hwsearch: target_ms"):
        as_study(study)


def test_a_foreign_study_is_one_line(tmp_path):
    with pytest.raises(StudyError, match="was not written by hwsearch") as error:
        as_study(written(tmp_path, {}))
    assert "\n" not in str(error.value)


def test_a_trial_of_an_older_study_has_what_it_has():
    trial = optuna.trial.create_trial(value=1.0, user_attrs={"generation_ms": 2, "size_bytes": 3})
    record = TrialRecord.of(trial)
    assert (record.generation_ms, record.size_bytes, record.state_losses) == (2.0, 3, None)


def test_what_is_no_number_of_ours_is_refused(tmp_path):
    for number, (name, value) in enumerate(
        [
            ("target_ms", True),
            ("target_ms", "3"),
            ("watts", 1e308),
            ("max_bytes", 1.5),
            ("ready", 1),
        ]
    ):
        (tmp_path / str(number)).mkdir()
        study = written(tmp_path / str(number), {**OLD, name: value})
        with pytest.raises(StudyError, match=f"study s was not written by hwsearch: {name}"):
            as_study(study)


SCORED = {"number": 3, "loss": 0.1, "generation_ms": 2.0, "correct": "011"}
VERDICT = {
    "target_ms": 9.0, "trials": 4, "split": "validation", "problems": 3, "winner": 3, "finalists": [SCORED],
}  # fmt: skip
GEOMETRY = {
    "vocab_size": 64, "hidden_size": 32, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1, "head_dim": 16,
    "intermediate_size": 64,
}  # fmt: skip


def test_parts_that_are_read_when_they_are_asked_for():
    record = StudyRecord(
        finalists=VERDICT, geometry=GEOMETRY, sinks={"passes": 1, "shares": [[0.5, 1.0]]}
    )
    assert record.verdict.finalists[0].correct == "011" and record.model_geometry.kv_size == 16
    assert record.sink_profile.kept_share(0, 0.0) == 0.5
    empty = StudyRecord()
    assert (empty.verdict, empty.model_geometry, empty.sink_profile) == (None, None, None)


@pytest.mark.parametrize(
    ("part", "kept", "said"),
    [
        ("verdict", {"finalists": {**VERDICT, "problems": 2}}, "answered the 2 problems"),
        ("verdict", {"finalists": {**VERDICT, "winner": 1}}, "the winner, trial 1, must be a finalist"),
        ("verdict", {"finalists": {**VERDICT, "finalists": [{**SCORED, "correct": ""}]}}, "correct"),
        ("verdict", {"finalists": {"winner": 3}}, "missing"),
        ("model_geometry", {"geometry": {**GEOMETRY, "num_kv_heads": 0}}, "num_kv_heads must be from 1"),
        ("model_geometry", {"geometry": {**GEOMETRY, "num_layers": 10**6}}, "num_layers must be from 1"),
        ("model_geometry", {"geometry": {**GEOMETRY, "head_dim": True}}, "head_dim"),
        ("sink_profile", {"sinks": {"passes": 3, "shares": [[1.0]]}}, "one more than passes"),
        ("prompt_length", {"workload": '{"prompt_length": true}'}, "prompt_length"),
        ("prompt_length", {"workload": "[]"}, "workload"),
        ("suffix_length", {"workload": '{"prompt_length": 3, "suffix_length": -1}'}, "suffix_length"),
        ("decoding_value", {"decoding": "{"}, "the study's decoding: not JSON"),
        ("search_space", {"space": '{"num_layers": 0}'}, "space"),
        ("task_choice", {"task": '{"tusk": 1}'}, "the study keeps of its task: unknown setting 'tusk'"),
        ("loading", {"model_options": '{"dtype": 3}'}, "model_options"),
    ],
)  # fmt: skip
def test_parts_that_nobody_of_ours_wrote_are_refused_in_one_line(part, kept, said):
    record = StudyRecord(**kept)
    with pytest.raises(StudyError, match=said) as refused:
        getattr(record, part)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"measured_ms": 0.0}, {"predicted_ms": True}, {"correct": ""}, {"plan": {}}, {"size_bytes": "9"},
        {"predicted_10_90_ms": [1.0]},
    ],
)  # fmt: skip
def test_an_outcome_that_nobody_of_ours_wrote_is_refused(changed):
    plan = SPACE.plan(dict.fromkeys(SPACE.parameters(), 0))
    sound = {
        "name": "winner", "title": "winner", "plan": plan.model_dump(mode="json"), "predicted_ms": 3.0,
        "measured_ms": 2.9, "target_ms": 4.0, "predicted_passes": 8.0, "measured_passes": 8.0,
        "tokens_per_second": 9.0, "correct": "01", "size_bytes": 10, "bundle": "out", "command": "c",
    }  # fmt: skip
    assert outcomes_of(StudyRecord(outcomes=[sound]))[0].accuracy == 0.5
    with pytest.raises(StudyError, match="hwsearch did not write an outcome"):
        outcomes_of(StudyRecord(outcomes=[sound | changed]))


def test_a_trial_keeps_numbers_alone():
    for attributes in ({"generation_ms": True}, {"size_bytes": -1}, {"estimated_values": ["x"]}):
        trial = optuna.trial.create_trial(value=1.0, user_attrs=attributes)
        with pytest.raises(ValidationError):
            TrialRecord.of(trial)
    lost = optuna.trial.create_trial(
        value=1.0, user_attrs={"state_losses": [0.5, math.nan, math.inf]}
    )
    assert len(TrialRecord.of(lost).state_losses) == 3
