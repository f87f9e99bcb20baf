import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from hwsearch.bundle import write_bundle
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.passes import counted, kinds
from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.errors import InputError, VerificationError
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import OnnxBackend, Runtime, check_agreement, measure_agreement


def test_float_generations_are_torchs_token_for_token(bundle):
    runtime = Runtime(bundle, threads=1)
    questions = [reference.question for reference in bundle.manifest.reference]
    agreement = measure_agreement(runtime)
    assert (agreement.share, agreement.tokens) == (1.0, 8 * len(questions))
    written = [runtime.generate_tokens(runtime.prompt(question)) for question in questions]
    assert len({tuple(tokens) for tokens in written}) > 1, "the questions must make a difference"


def test_a_pruned_layer_keeps_the_positions_that_torch_keeps(bundle, denoiser):
    onnx, torch = (
        OnnxBackend(bundle, threads=1),
        TorchBackend(denoiser.network, bundle.kept_shares),
    )
    tokens = np.random.default_rng(0).integers(3, 64, (1, 21))
    for backend in (onnx, torch):
        backend.begin()
    for pass_ in ("refresh", "step", "refresh", "step"):
        ours, theirs = (getattr(backend, pass_)(tokens, 9, 13) for backend in (onnx, torch))
        assert ours.tokens.tolist() == theirs.tokens.tolist()
        np.testing.assert_allclose(ours.confidence, theirs.confidence, atol=1e-5)
        tokens = (tokens + 7) % 64
    whole, half = (onnx._past[9, 13].arrays[f"key_{layer}"].shape[2] for layer in (0, 1))
    assert (whole, half) == (17, 9)


def test_text_is_cut_at_the_first_end_token(bundle):
    runtime = Runtime(bundle)
    word = runtime.tokenizer.token_to_id
    end = bundle.manifest.end_token_id
    assert runtime.text([word("tom"), word("has"), end, word("more")]) == "tom has"
    assert runtime.text([end]) == ""
    assert runtime.text([word("tom")]) == "tom"


def test_whoever_watches_sees_the_text_fill_up(bundle):
    runtime = Runtime(bundle, threads=1)
    question = bundle.manifest.reference[0].question
    seen = []
    answer = runtime.generate(question, on_text=seen.append)
    assert answer == runtime.generate(question)
    assert len(seen) == bundle.manifest.decoding.steps
    assert seen[0].count("░") == 7 and seen[-1] == answer
    for before, after in pairwise(text.split() for text in seen):
        assert all(old in ("░", new) for old, new in zip(before, after, strict=False))


def test_a_generation_tells_its_passes(bundle):
    runtime = Runtime(bundle, threads=1)
    prompt = runtime.prompt("tom has 3 apples")
    found = runtime.generation(prompt)
    assert runtime.generate_tokens(prompt) == found.tokens[0, len(prompt) :].tolist()
    assert dict(kinds(counted(found.passes))) == {"refresh": 4, "advance": 0, "step": 4}


def test_generating_needs_no_torch(bundle):
    question = bundle.manifest.reference[0].question
    script = (
        "import sys; from hwsearch.runtime import Runtime; "
        f"print(repr(Runtime({str(bundle.path)!r}, threads=1).generate({question!r}))); "
        "heavy = {'torch', 'onnx', 'transformers', 'optuna'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == repr(Runtime(bundle, threads=1).generate(question))


def test_too_little_agreement_names_the_bundle_and_the_question(bundle):
    runtime = Runtime(bundle, threads=1)
    wrong = tuple(
        reference.model_copy(update={"tokens": tuple(63 - t for t in reference.tokens)})
        for reference in bundle.manifest.reference
    )
    manifest = bundle.manifest.model_copy(update={"reference": wrong})
    runtime.bundle = type(bundle)(bundle.path, manifest)
    with pytest.raises(VerificationError, match=r"float: onnxruntime repeats .* how many now"):
        check_agreement(runtime, least=0.9)


class TestChat:
    """An instruct model's template goes with its bundle."""

    @pytest.fixture(scope="class")
    def instruct(self, denoiser, tmp_path_factory):
        chat = ChatTemplate(
            "{% for m in messages %}{{ m.role }} {{ m.content }} {{ eos_token }} {% endfor %}tom",
            {"eos_token": "now"},
        )
        compressed = compress(replace(denoiser, chat=chat), CompressionPlan.uniform(2))
        return write_bundle(
            compressed,
            KeptShares.keeping_all(2),
            tmp_path_factory.mktemp("chat") / "instruct",
            questions=["how many ?"],
        )

    def test_a_question_is_asked_by_the_template_and_plainly_on_request(self, instruct):
        runtime = Runtime(instruct, threads=1)
        asked = runtime.ask("how many ?")
        words = [runtime.tokenizer.id_to_token(token) for token in asked]
        assert words == ["<unk>", "how", "many", "?", "now", "tom"]
        written = runtime.text(runtime.generate_tokens(asked))
        assert runtime.generate("how many ?") == written
        plainly = runtime.text(runtime.generate_tokens(runtime.prompt("how many ?")))
        assert runtime.generate("how many ?", plain=True) == plainly
        # the references were asked plainly, and still are
        assert measure_agreement(runtime).share == 1.0

    def test_it_takes_neither_torch_nor_transformers(self, instruct):
        script = (
            "import sys; from hwsearch.runtime import Runtime; "
            f"Runtime({str(instruct.path)!r}, threads=1).generate('how many ?'); "
            "heavy = {'torch', 'onnx', 'transformers', 'optuna'} & set(sys.modules); "
            "assert not heavy and 'jinja2' in sys.modules, heavy"
        )
        subprocess.run([sys.executable, "-c", script], check=True)

    def test_a_bundle_without_one_says_so(self, bundle):
        with pytest.raises(InputError, match="holds no chat template"):
            Runtime(bundle, threads=1).ask("how many ?")
