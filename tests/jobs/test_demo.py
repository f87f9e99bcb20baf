"""The whole path on the bundled model: time, search, export, measure, score, verify, answer."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import InputError, VerificationError
from hwsearch.jobs.demo import contest
from hwsearch.jobs.demo.run import AGAIN, DEVICE, DemoOptions, run_demo
from hwsearch.jobs.demo.target import CARELESS, Reach, careful_space, choose_target
from hwsearch.jobs.prediction import predict_plan
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.profiling.onnxruntime import MachineProfiler, profile_machine
from hwsearch.jobs.verification import verify
from hwsearch.latency.devices.device import load_device
from hwsearch.latency.timing import bundles
from hwsearch.plan import CompressionPlan
from hwsearch.study import SearchSpace, load_study
from hwsearch.tasks.gsm_mini.generator import problems
from hwsearch.testing.timers import FormulaTimers

pytestmark = pytest.mark.slow

TRIALS = 24
BRIEF = Effort(rounds=2, sessions=1, mixed_plans=2)

#: Searches at most; `test_contest` tells how often a demo searches again.
ATTEMPTS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(folder):
    denoiser = load_denoiser("gsm-mini")
    tables, said = folder / "latency_tables", []
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HWSEARCH_QUESTIONS", "4")
        patched.setattr(contest, "ATTEMPTS", ATTEMPTS)
        patched.setattr(bundles, "GENERATION_SECONDS", 0.02)
        # by a formula: which plans are near the fastest is not to be the weather's
        MachineProfiler(DEVICE, tables, BRIEF, timers=FormulaTimers()).time_model(denoiser)
        found = run_demo(folder, DemoOptions(trials=TRIALS, limit=8), say=said.append)
    assert said == [f"target: {found.target.reason}"], "the target is shown before the search"
    return found


def test_the_document_has_what_was_promised(demo, folder):
    document = json.loads(json.dumps(demo.document()))
    assert document["bundle"] == str(folder / "winner")
    for name in ("baseline", "best_uniform", "winner"):
        found = document[name]
        low, high = found["accuracy_interval"]
        assert 0.0 <= low <= found["accuracy"] <= high <= 1.0
        assert found["predicted_ms"] > 0
        assert found["measured_ms"] > 0
        CompressionPlan.validate(found["plan"])
    report = document["report"]
    assert report["path"] == str(folder / "report.html") and (folder / "report.html").is_file()
    assert "measured" in report["figures"] and "measured" not in report["missing"]
    ratio, reach = document["target_ratio"], document["fastest_uniform_ratio"]
    assert document["target_ms"] == pytest.approx(ratio * document["baseline"]["measured_ms"])
    assert document["target_met"] == (document["winner"]["measured_ms"] <= document["target_ms"])
    assert 0.0 < min(reach, 1.0) <= ratio <= 1.0


def test_the_waterfall_goes_from_the_makers_decoding_to_the_winners(demo):
    document = json.loads(json.dumps(demo.document()))
    levers = document["waterfall"]
    assert [levers[0]["name"], *(lever["name"] for lever in levers[-2:])] == [
        "baseline", "best_uniform", "winner",
    ]  # fmt: skip
    winner = demo.contestants["winner"].plan.decoding
    assert winner is not None
    assert winner.commit is not None, "no schedule is fast enough"
    assert "parallel" in demo.contestants
    for lever in levers:
        assert lever["times_faster"] == pytest.approx(
            levers[0]["measured_ms"] / lever["measured_ms"]
        )
        assert lever["tokens_per_second"] > 0
    assert levers[0]["measured_passes"] == 48
    assert levers[-1]["measured_passes"] < 12


def test_the_target_is_one_that_this_machine_reaches(demo, folder):
    """By prediction: what is measured in the end depends on the machine's mood as well."""
    study = load_study("demo", str(folder / "demo.db"))
    target_ms = demo.target.ratio * demo.reach.uncompressed_ms
    assert choose_target(demo.reach) == demo.target
    assert demo.reach.fastest_uniform_ms <= target_ms
    within = study.frame()[study.frame()["generation_ms"] <= target_ms]
    assert within["uniform"].any()
    winner = demo.contestants["winner"]
    assert winner.predicted.generation_ms <= target_ms


@pytest.mark.parametrize(
    ("fastest_ms", "ratio"), [(7.0, 0.076), (60.0, 0.648), (95.0, 1.0), (140.0, 1.0)]
)
def test_the_target_lies_a_little_above_the_fastest_plan(fastest_ms, ratio):
    chosen = choose_target(Reach(100.0, fastest_ms + 1.0, fastest_ms))
    assert chosen.ratio == pytest.approx(ratio)
    assert chosen.ratio * 100.0 >= min(1.08 * fastest_ms, 100.0) - 1e-9


def test_a_decoding_that_gets_answers_wrong_sets_no_target():
    """It is fast, and nobody wants it."""
    right, wrong = (
        load_denoiser("gsm-mini").decoding.changed(
            {"commit": {"policy": "threshold", "threshold": threshold}}
        )
        for threshold in (0.9, 0.3)
    )
    space = SearchSpace(num_layers=2, decodings=(None, right, wrong))
    prices = {right: 0.0, wrong: CARELESS + 0.01}
    answering = SimpleNamespace(uncompressed_price=prices.__getitem__)
    objective = SimpleNamespace(space=space, answering=answering)
    assert careful_space(objective).decodings == (None, right)
    assert careful_space(SimpleNamespace(space=space, answering=None)) == space


def test_a_target_that_is_asked_for_is_taken_or_refused():
    reach = Reach(100.0, 60.0, 50.0)
    assert choose_target(reach, 0.4).ratio == 0.4
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="must be above 0"):
            choose_target(reach, wrong)


def test_it_searches_on_after_misses_alone(demo):
    """How often it must depends on the machine's mood."""
    assert demo.trials in range(TRIALS, TRIALS + ATTEMPTS * AGAIN, AGAIN)
    assert demo.document()["trials"] == demo.trials


def test_compressed_bundles_are_smaller(demo):
    baseline = demo.contestants["baseline"].bundle.size_bytes
    assert demo.contestants["winner"].bundle.size_bytes < baseline


def test_the_study_can_be_opened(demo, folder):
    study = load_study("demo", str(folder / "demo.db"))
    assert len(study.frame()) == demo.trials
    assert demo.contestants["winner"].plan in set(study.frame()["plan"])


def test_the_device_predicts_every_kind_of_plan(demo, folder, tmp_path):
    plan = CompressionPlan.uniform(6, "w8a8", "w4", 0.5)
    forecast = predict_plan(plan, "gsm-mini", str(folder / "latency_tables" / DEVICE))
    assert forecast["provenance"] == "measured"
    assert forecast["calibrated"]
    layers = sum(layer["ms"] for layer in forecast["layers"])
    assert 0 < layers < 2 * forecast["generation_ms"]
    runs = pd.read_csv(folder / "latency_tables" / DEVICE / "whole-model.csv")
    line = load_device(folder / "latency_tables" / DEVICE).info.calibration("gsm-mini").step
    assert len(runs) == line.plans
    error = (runs["step_predicted_ms"] / runs["step_measured_ms"] - 1).abs().mean()
    assert error == pytest.approx(line.mape), "what is kept is what was fitted"


def test_a_device_that_lacks_nothing_is_left_alone(demo, folder):
    tables = folder / "latency_tables"
    before = {path.name: path.stat().st_mtime_ns for path in (tables / DEVICE).iterdir()}
    profile_machine(load_denoiser("gsm-mini"), DEVICE, tables, effort=BRIEF)
    after = {path.name: path.stat().st_mtime_ns for path in (tables / DEVICE).iterdir()}
    assert after == before


def test_a_device_timed_with_other_threads_is_refused(demo, folder):
    with pytest.raises(InputError, match="with threads '1', and this is '2'"):
        profile_machine(
            load_denoiser("gsm-mini"), DEVICE, folder / "latency_tables", effort=Effort(threads=2)
        )
    assert load_device(folder / "latency_tables" / DEVICE).info.name == DEVICE


def test_the_winner_verifies_and_answers_without_torch(demo):
    bundle = demo.contestants["winner"].bundle.path
    checks = {check.name: check for check in verify(bundle, limit=8)}
    assert checks["files"].passed
    asked = {"predictions", "choices", "prompts", "accuracy"}
    plain = {name for name in checks if name.startswith("plain session of ")}
    assert plain == {"plain session of refresh.onnx", "plain session of step.onnx"}
    for name in asked | plain:
        assert checks[name].passed, checks[name]
    question = next(problems("test")).question
    code = (
        "import sys; from hwsearch.cli.main import hwsearch; "
        f"hwsearch(['generate', {str(bundle)!r}, {question!r}], standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "<<" in done.stdout
    assert "####" in done.stdout


@pytest.mark.parametrize(
    "name", ["refresh.onnx", "step.onnx", "plan.json", "tokenizer.json", "bundle.json"]
)
def test_one_changed_byte_is_noticed_and_named(demo, tmp_path, name):
    copy = tmp_path / "bundle"
    shutil.copytree(demo.contestants["winner"].bundle.path, copy)
    path = copy / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(VerificationError, match=name) as stop:
        verify(copy, limit=0)
    assert stop.value.exit_code == 1
