from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from hwsearch.bundle import export
from hwsearch.cli.sinks import command
from hwsearch.compression import compress
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
    monkeypatch.setattr("hwsearch.jobs.sinks.load_denoiser", lambda name, device: known[name])
    return known


def test_two_models_are_paired_problem_by_problem(tmp_path):
    found = study_sinks("mine", tmp_path / "out", against="twin", questions=QUESTIONS, k=2)
    assert [row["question"] for row in found["findings"]] == [
        "concentration",
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
            alone.sink_mass.mean(axis=0)[0].tolist(), abs=1e-4
        )


def test_a_bundles_refresh_outputs_tell_what_the_model_tells(models, tmp_path):
    mine = models["mine"]
    bundle = export(compress(mine, CompressionPlan.uniform(2)), (0.5, 1 - 1e-9), tmp_path / "b")
    theirs = record_bundle(Runtime(bundle, threads=1), QUESTIONS[:1], k=2)[0]
    ours = record_sinks(mine, QUESTIONS[:1], k=2)[0]
    assert np.allclose(theirs.mean_mass[:, :, 0], ours.mean_mass.sum(axis=2), atol=1e-4)
    assert np.allclose(theirs.centroids, ours.centroids, atol=1e-3)
    plain = export(compress(mine, CompressionPlan.uniform(2)), (1.0, 1.0), tmp_path / "plain")
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
