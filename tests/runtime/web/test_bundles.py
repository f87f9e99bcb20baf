"""A bundle for onnxruntime-web writes in Node what torch wrote before the export."""

import json
import re
import shutil

import pytest

from hwsearch.bundle import write_bundle
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares, StaticScores
from hwsearch.denoisers.chat.asking import Infilling
from hwsearch.plan import CachePolicy, CompressionPlan, Decoding
from hwsearch.runtime.bundle import read_bundle, write_manifest
from hwsearch.runtime.providers import WEB
from hwsearch.runtime.web import write_runner
from hwsearch.testing.tiny import tiny_denoiser
from tests.runtime.conftest import QUESTIONS
from tests.runtime.web.node import run, with_modules

STATIC = StaticScores(
    first=((0.5,), (0.1,)), from_end=(tuple(n * 7 % 5 / 5 for n in range(9)),) * 2
)
BLANK = {"gen_length": 12, "block_length": 4, "refresh_interval": 2}


@pytest.fixture(scope="session")
def web(tmp_path_factory):
    return with_modules(write_runner(tmp_path_factory.mktemp("runner") / "web"))


def exported(out, denoiser, decoding=None, policy=None, static=None, shares=(0.6, 0.5)):
    """A bundle of a float model, so that not one rounding stands between torch and Node."""
    plan = CompressionPlan.uniform(2)
    if decoding is not None:
        plan = plan.model_copy(update={"decoding": Decoding.model_validate(BLANK | decoding)})
    compressed = compress(denoiser, plan)
    kept = KeptShares(shares, policy or CachePolicy(), compressed.decoding.refreshes, static)
    asked = [*QUESTIONS, Infilling("tom has 3 apples and", "more now ?")]
    return write_bundle(compressed, kept, out, questions=asked, provider=WEB)


def agreement(web, bundle):
    return json.loads(run(web / "generate.mjs", bundle.path, "--agreement", "--json")[0])


def policy(name, **rest):
    return {"commit": {"policy": name, **rest}}


DECODINGS = {
    "the makers' own": None,
    "entropy rule": {"steps": 6, "rule": "entropy"},
    "margin rule": {"steps": 6, "rule": "topk_margin"},
    "threshold and stop": policy("threshold", threshold=0.3) | {"stop_at_end": True},
    "entropy bound": policy("entropy-bound", bound=0.5),
    "kl-stable, which graphs carry state for": policy("kl-stable", threshold=0.2, divergence=0.5),
    "credit, which graphs carry state for": policy("credit", threshold=0.3),
    "advance": policy("factor") | {"window": {"advance": True, "before": 2}},
    "suffix window": policy("hierarchy") | {"suffix_window": 4, "window": {"advance": True}},
    "sliding": policy("decaying-threshold", threshold=0.5)
    | {"window": {"slide": True, "before": 3}},
}


@pytest.mark.parametrize("decoding", DECODINGS.values(), ids=DECODINGS)
def test_every_way_of_decoding_is_repeated(web, tmp_path, decoding):
    bundle = exported(tmp_path / "b", tiny_denoiser(grouped=True, sharpness=3.0), decoding)
    found = agreement(web, bundle)
    assert found["tokens"] > 0
    assert found["same"] == found["tokens"], found["first"]


POLICIES = {
    "drop-transient": (CachePolicy(rule="drop-transient", late_scale=0.6), None),
    "mass": (CachePolicy(rule="mass"), None),
    "mean-query": (CachePolicy(rule="mean-query"), None),
    "ar-preserve": (CachePolicy(rule="ar-preserve"), None),
    "recent": (CachePolicy(rule="recent"), None),
    "calibrated": (CachePolicy(running=False), STATIC),
}


@pytest.mark.parametrize(("cache", "static"), POLICIES.values(), ids=POLICIES)
def test_every_rule_of_the_cache_is_repeated(web, tmp_path, cache, static):
    denoiser = tiny_denoiser(sharpness=3.0)
    found = agreement(web, exported(tmp_path / "b", denoiser, None, cache, static))
    assert found["same"] == found["tokens"] > 0, found["first"]


def test_shifted_logits_are_repeated(web, tmp_path):
    denoiser = tiny_denoiser(logit_shift=True, qkv_bias=True, qk_norm=True)
    for number, decoding in enumerate((None, DECODINGS["advance"])):
        found = agreement(web, exported(tmp_path / str(number), denoiser, decoding))
        assert found["same"] == found["tokens"] > 0, found["first"]


@pytest.mark.parametrize("fmt", [fmt.value for fmt in WEB.formats])
def test_every_format_opens_and_writes_nearly_the_same(web, tmp_path, fmt):
    """Rounded inputs make a random model chaotic, so not every token need be the same."""
    plan = CompressionPlan.uniform(2, fmt, fmt, head=fmt)
    bundle = write_bundle(
        compress(tiny_denoiser(), plan),
        KeptShares((1.0, 1.0)),
        tmp_path / "b",
        questions=QUESTIONS,
        provider=WEB,
    )
    found = agreement(web, bundle)
    assert found["same"] >= 0.9 * found["tokens"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("bundle") / "b", tiny_denoiser())


def test_a_question_is_answered(web, bundle):
    said, _ = run(web / "generate.mjs", bundle.path, QUESTIONS[0], "--json")
    assert json.loads(said)["question"] == QUESTIONS[0]
    assert isinstance(json.loads(said)["answer"], str)


def test_bundles_are_timed_side_by_side(web, bundle, tmp_path):
    questions = tmp_path / "questions.jsonl"
    lines = [{"question": QUESTIONS[0]}, {"question": QUESTIONS[1], "suffix": "now ?"}]
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    both = (bundle.path, bundle.path)
    said, _ = run(web / "bench.mjs", *both, "--questions", questions, "--rounds", "2")
    for found in json.loads(said):
        assert len(found["samples_ms"]) == 2  # rounds, and in each all questions
        assert all(
            len(row) == len(found["answers"]) and min(row) > 0 for row in found["samples_ms"]
        )
        assert [answer["suffix_length"] > 0 for answer in found["answers"]] == [False, True]
        assert found["answers"][0]["tokens"] == list(bundle.manifest.reference[0].tokens)
        assert found["answers"][0]["passes"][0] == ["refresh", 0]


def damaged(bundle, folder, name, old, new):
    shutil.copytree(bundle.path, folder)
    content = (folder / name).read_bytes()
    assert old in content
    (folder / name).write_bytes(content.replace(old, new, 1))
    return folder


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("bundle.json", b"tiny", b"tidy", "its seal does not match its content"),
        (
            "tokenizer.json",
            b"tom",
            b"tim",
            "tokenizer.json: its checksum does not match bundle.json",
        ),
    ],
)
def test_a_damaged_bundle_is_refused(web, bundle, tmp_path, name, old, new, said):
    folder = damaged(bundle, tmp_path / "damaged", name, old, new)
    _, error = run(web / "generate.mjs", folder, "?", code=2)
    assert said in error and error.count("\n") == 1


def test_another_runtimes_bundle_is_refused(web, bundle, tmp_path):
    shutil.copytree(bundle.path, tmp_path / "other")
    other = read_bundle(tmp_path / "other")
    write_manifest(other.path, other.manifest.model_copy(update={"runtime": "onnxruntime-cpu"}))
    _, error = run(web / "generate.mjs", other.path, "?", code=2)
    assert "was exported for onnxruntime-cpu, not for onnxruntime-web" in error


def test_what_is_not_there_is_said_in_one_line(web, tmp_path):
    _, error = run(web / "generate.mjs", tmp_path / "none", "?", code=2)
    assert error.startswith("error: ") and "bundle.json: cannot be read" in error
    assert "usage: node generate.mjs" in run(web / "generate.mjs", code=2)[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate.mjs", "b", "?", "--threads", "none"), "--threads must be a whole number"),
        (("generate.mjs", "b", "?", "--thread", "1"), "Unknown option '--thread'"),
        (("bench.mjs", "b"), "usage: node bench.mjs"),
        (("bench.mjs", "b", "--questions", "none.jsonl"), "none.jsonl: cannot be read"),
        (("bench.mjs", "b", "--questions", "package.json"), 'line 1: .*with a text "question"'),
        (("serve.mjs", "--port", "x"), "--port must be a whole number"),
    ],
)
def test_bad_options_are_said_in_one_line(web, words, said):
    _, error = run(*words, code=2, cwd=web)
    assert re.match(f"error: .*{said}", error) and error.count("\n") == 1, error
