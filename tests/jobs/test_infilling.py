"""A text behind the blank, from torch into a bundle and back: exported, verified, asked and searched."""

import json

import numpy as np
import pytest

from hwsearch.bundle import Exporter
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.chat.asking import Infilling
from hwsearch.jobs.bundles.benchmark import benchmark, benchmark_questions
from hwsearch.jobs.evaluation import BundleModel
from hwsearch.jobs.verification import measure_bundles, verify
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.runtime import Runtime, measure_agreement
from hwsearch.runtime.bundle import BUNDLE_FILE, REFERENCE_FILE
from hwsearch.runtime.reference import References
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.evaluation import evaluate
from hwsearch.tasks.problem import Problem
from hwsearch.testing.tiny import tiny_denoiser
from tests.denoisers.test_own import LAYERS, character_denoiser

SUFFIXES = ("now ?", "how many more now ?", "")
QUESTIONS = [Infilling(f"tom has {n}", SUFFIXES[n % 3]).shortest for n in range(6)]
KEPT = KeptShares((1.0, 0.5))
DECODINGS = {
    "blocks": None,
    "policy": Decoding(
        gen_length=8,
        block_length=4,
        refresh_interval=4,
        commit={"policy": "threshold", "threshold": 0.2},
    ),
    "windows": Decoding(
        gen_length=12,
        block_length=4,
        steps=12,
        refresh_interval=4,
        window={"before": 1, "after": 1, "advance": True},
        suffix_window=4,
    ),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Bundles by decoding, made when first asked for. Tests must not write into them."""
    made = {}

    def of(name, **shape):
        key = (name, *shape)
        if key not in made:
            denoiser = tiny_denoiser(grouped=True, **shape)
            plan = CompressionPlan.uniform(2).model_copy(update={"decoding": DECODINGS[name]})
            out = tmp_path_factory.mktemp("infilling") / name
            compressed = compress(denoiser, plan)
            bundle = Exporter(denoiser).export(compressed, KEPT, out, questions=QUESTIONS)
            made[key] = denoiser, compressed, bundle
        return made[key]

    return of


@pytest.mark.parametrize("shape", [{}, {"logit_shift": True}], ids=["plain", "shifted"])
@pytest.mark.parametrize("name", DECODINGS)
def test_torch_and_the_bundle_write_the_same(exported, name, shape):
    _, _, bundle = exported(name, **shape)
    agreement = measure_agreement(Runtime(bundle, threads=1))
    count = bundle.manifest.decoding.gen_length * len(QUESTIONS)
    assert (agreement.share, agreement.tokens) == (1.0, count)
    written = {reference.tokens for reference in bundle.manifest.reference}
    assert len(written) > 1, "what is given must make a difference"


@pytest.mark.parametrize("name", DECODINGS)
def test_a_right_bundle_verifies(exported, name):
    _, _, bundle = exported(name)
    checks = {check.name: check for check in verify(bundle.path, limit=0)}
    assert [c for c in checks.values() if c.decides and not c.passed] == []
    assert checks["predictions"].figures["positions"] > 0


def test_a_module_of_ones_own_fills_blanks_too(tmp_path):
    denoiser = character_denoiser()
    questions = [Infilling("2 + 3 ?", "so 5"), "How many?"]
    compressed, kept = (
        compress(denoiser, CompressionPlan.uniform(LAYERS)),
        KeptShares((1.0,) * LAYERS),
    )
    bundle = Exporter(denoiser).export(compressed, kept, tmp_path / "own", questions=questions)
    assert measure_agreement(Runtime(bundle, threads=1)).share == 1.0


def test_references_keep_what_was_behind_them(exported):
    denoiser, _, bundle = exported("blocks")
    document = json.loads((bundle.path / BUNDLE_FILE).read_text())
    assert [one.get("suffix") for one in document["reference"]] == ["now ?", SUFFIXES[1], None] * 2
    references = References.read(bundle.path / REFERENCE_FILE)
    given = [path.given for path in references.trajectories()]
    assert given == [denoiser.given(question) for question in QUESTIONS]


def test_without_a_suffix_nothing_is_said_of_one(tmp_path):
    denoiser = tiny_denoiser()
    compressed = compress(denoiser, CompressionPlan.uniform(2))
    bundle = Exporter(denoiser).export(compressed, KEPT, tmp_path / "b", questions=["tom has 3"])
    assert "suffix" not in json.dumps(
        json.loads((bundle.path / BUNDLE_FILE).read_text())["reference"]
    )
    with np.load(bundle.path / REFERENCE_FILE) as archive:
        assert "suffix_lengths" not in archive.files


def test_python_fills_a_blank(exported):
    _, _, bundle = exported("blocks")
    runtime = Runtime(bundle, threads=1)
    seen = []
    text = runtime.generate("tom has 0", suffix="now ?", on_text=seen.append)
    reference = bundle.manifest.reference[0]
    assert text == runtime.text(reference.tokens) == seen[-1]
    given = runtime.given(Infilling("tom has 0", "now ?"))
    found = runtime.generation(given)
    assert found.tokens[0].tolist() == given.around(reference.tokens)
    assert runtime.generate_tokens(given) == list(reference.tokens)
    assert runtime.generate("tom has 0") == runtime.generate("tom has 0", suffix="") != text


def test_a_bundle_is_evaluated_as_torch_is(exported):
    denoiser, compressed, bundle = exported("blocks")
    problems = [Problem("tom has 1", "#### 1", "now ?"), Problem("tom has 2", "#### 1")]
    runtime = Runtime(bundle, threads=1)
    ours = evaluate(runtime.backend, BundleModel(runtime), problems, batch=1)
    theirs = evaluate(backend_of(compressed.network, KEPT), denoiser, problems)
    assert ours.texts == theirs.texts
    assert ours.passes == theirs.passes


def test_a_bundle_is_timed_on_blanks(exported, tmp_path):
    _, _, bundle = exported("blocks")
    runtime = Runtime(bundle, threads=1)
    assert benchmark_questions(runtime) == QUESTIONS
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "tom has 0", "suffix": "now ?"}\n')
    assert benchmark_questions(runtime, path) == QUESTIONS[:1]
    assert len(benchmark(runtime, QUESTIONS[:2], rounds=1).generations) == 2
    path.write_text('{"question": "tom has 0", "answer": "#### 1", "suffix": "now ?"}\n' * 2)
    task = TaskChoice(task="problems", task_path=str(path))
    times = measure_bundles({"b": bundle}, 1, task=task, rounds=1)
    assert times.passes["b"].total == 8
