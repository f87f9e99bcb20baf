from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from hwsearch.bundle import write_bundle
from hwsearch.cli.models.sinks import command
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.errors import InputError
from hwsearch.jobs.sinks import study_sinks
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import Runtime
from hwsearch.sinks import record_bundle, record_sinks
from hwsearch.testing.tiny import tiny_denoiser
from tests.sinks.test_recorder import causal

pytest.importorskip("matplotlib")
QUESTIONS = ["tom has 3 apples ?", "how many now ?", "tom has 4 apples ?"]


@pytest.fixture(autouse=True)
def models(monkeypatch):
    """Two models by name: one of each kind, of the same weights."""
    mine = tiny_denoiser()
    twin = replace(causal(mine), name="twin")
    known = {"mine": replace(mine, name="mine"), "twin": twin}
    monkeypatch.setattr("hwsearch.jobs.sinks.ModelOptions.load", lambda options, name: known[name])
    return known


def test_two_models_are_paired_problem_by_problem(tmp_path):
    found = study_sinks("mine", tmp_path / "out", against="twin", questions=QUESTIONS, k=2)
    assert [row["question"] for row in found["findings"]] == [
        "spatial variance",
        "temporal stability",
        "drift",
    ]
    data = json.loads((tmp_path / "out" / "sinks.json").read_text())
    assert [model["causal"] for model in data["models"]] == [False, True]
    assert np.shape(data["models"][0]["centres"]) == (3, 8, 2)
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"sinks.html", "heat.png"}


def test_problems_stay_in_the_order_asked(models, tmp_path):
    study_sinks("mine", tmp_path, questions=QUESTIONS, k=2)
    data = json.loads((tmp_path / "sinks.json").read_text())
    for index, question in enumerate(QUESTIONS):
        alone = record_sinks(models["mine"], [question], k=2)[0]
        assert data["models"][0]["concentration"][index] == pytest.approx(
            alone.concentration.mean(axis=0)[0].tolist(), abs=1e-4
        )


def test_a_bundles_refresh_outputs_tell_what_the_model_tells(models, tmp_path):
    mine = models["mine"]
    bundle = write_bundle(
        compress(mine, CompressionPlan.uniform(2)), KeptShares((0.5, 1 - 1e-9)), tmp_path / "b"
    )
    theirs = record_bundle(Runtime(bundle, threads=1), QUESTIONS[:1], k=2)[0]
    ours = record_sinks(mine, QUESTIONS[:1], k=2)[0]
    assert np.allclose(theirs.mean_mass[:, :, 0], ours.mean_mass.sum(axis=2), atol=1e-4)
    assert np.allclose(theirs.centroids, ours.centroids, atol=1e-3)
    plain = write_bundle(
        compress(mine, CompressionPlan.uniform(2)), KeptShares.keeping_all(2), tmp_path / "plain"
    )
    with pytest.raises(InputError, match="hands out no attention mass"):
        record_bundle(Runtime(plain, threads=1), QUESTIONS)


def test_the_command_prints_answers_or_json(tmp_path):
    arguments = ["mine", "-o", str(tmp_path / "out"), "--limit", "2", "--k", "0.2"]
    table = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "temporal stability" in table.output
    printed = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    assert len(json.loads(printed.stdout)["findings"]) == 3
    with pytest.raises(InputError, match="k = 500 sinks"):
        CliRunner().invoke(command, [*arguments, "--k", "500"], catch_exceptions=False)
    assert "is no number" in CliRunner().invoke(command, [*arguments, "--k", "many"]).output


def test_where_how_much_and_how_stable_are_said_and_named(tmp_path):
    found = study_sinks("mine", tmp_path, questions=QUESTIONS, k=2)
    data = json.loads((tmp_path / "sinks.json").read_text())
    assert data["sinks"] == found["sinks"]
    (said,) = found["sinks"]
    assert [sentence.split(":")[0] for sentence in said["words"]][-2:] == ["How much", "How stable"]
    figures = said["figures"]
    for key, name in (("concentration", "concentration"), ("spatial_variance", "spatial")):
        values = np.array(data["models"][0][name])
        assert figures[key]["mean"] == pytest.approx(values.mean(), abs=1e-5)
        assert figures[key]["by_layer"] == pytest.approx(values.mean(axis=0), abs=1e-5)
        assert figures[key]["low"] <= figures[key]["mean"] <= figures[key]["high"]
    page = (tmp_path / "sinks.html").read_text()
    assert "How stable" in page


def planted(monkeypatch, place):
    """Every layer's mass has a sink where `place(prompt length, length)` says."""
    from hwsearch.sinks import trajectory

    class Planted(trajectory._Recorded):
        def refresh(self, tokens, start, stop):
            prompt = tokens.shape[1] - 8
            for layer in range(2):
                mass = np.ones((len(tokens), 2, tokens.shape[1]), dtype=np.float32)
                mass[..., place(prompt, tokens)] = 50.0
                self._recorder.add(layer, mass)
            self._recorder.end_pass(tokens)
            return self._backend.refresh(tokens, start, stop)

        step = refresh

    monkeypatch.setattr(trajectory, "_Recorded", Planted)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (lambda prompt, tokens: 0, "the first token ('tom', 'how') receives 79.8 %"),
        (lambda prompt, tokens: prompt - 1, "the last token of the prompt (':') receives 79.8 %"),
        (
            lambda prompt, tokens: int((tokens[0] == 12).argmax()) - 1,
            "token 3 before the prompt's end ('apples', 'now') receives 79.8 %",
        ),
    ],
)
def test_a_planted_sink_is_told_in_words(monkeypatch, tmp_path, place, said):
    # prompts of 6, 5 and 6 tokens, answers of 8: (2 x 50/63 + 50/62) / 3 = 79.8 %
    planted(monkeypatch, place)
    arguments = ["mine", "-o", str(tmp_path), "--k", "2", "--path", str(tmp_path / "q.jsonl")]
    lines = [json.dumps({"question": question, "answer": "#### 1"}) for question in QUESTIONS]
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    printed = CliRunner().invoke(command, arguments, catch_exceptions=False).output
    flat = " ".join(printed.split())
    assert f"Where: {said}" in flat
    assert "the heaviest in 100.0 %" in flat and "100.0 % of a pass's sinks" in flat


def test_even_attention_is_said_to_have_no_place(monkeypatch, tmp_path):
    planted(monkeypatch, lambda prompt, tokens: slice(None))
    found = study_sinks("mine", tmp_path, questions=QUESTIONS, k=2)["sinks"][0]
    assert found["where"] == [] and found["words"][0].startswith("Where: nowhere in particular")
    assert found["figures"]["spatial_variance"]["mean"] == pytest.approx(0.0, abs=1e-9)
    expected = np.mean([2 / (len(tiny_denoiser().prompt(q)) + 8) for q in QUESTIONS])
    assert found["figures"]["concentration"]["mean"] == pytest.approx(expected)
