import subprocess
import sys

import pytest

from hwsearch.bundle import write_bundle
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.errors import InputError
from hwsearch.jobs.bundles.benchmark import benchmark, benchmark_questions
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import Runtime
from hwsearch.tasks.catalog import load_task
from hwsearch.testing.tiny import tiny_denoiser


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    compressed = compress(tiny_denoiser(), CompressionPlan.uniform(2))
    out = tmp_path_factory.mktemp("bundle") / "tiny"
    return write_bundle(compressed, KeptShares.keeping_all(2), out, questions=["tom has 3 ?"])


@pytest.fixture
def runtime(bundle):
    return Runtime(bundle, threads=1)


def test_questions_are_the_bundles_a_files_or_gsm_minis(runtime, tmp_path):
    assert benchmark_questions(runtime) == ["tom has 3 ?"]
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "how many ?"}\n{"question": "tom ?", "answer": "#### 1"}\n')
    assert benchmark_questions(runtime, path) == ["how many ?", "tom ?"]
    wanted = [problem.question for problem in load_task("gsm-mini").problems("validation", 3, 0)]
    assert benchmark_questions(runtime, problems=3) == wanted


def test_questions_that_cannot_be_had_are_told(runtime, tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": 3}\n')
    with pytest.raises(InputError, match=r'q\.jsonl:1: .* a text "question"'):
        benchmark_questions(runtime, path)
    path.write_text("\n")
    with pytest.raises(InputError, match="holds no questions"):
        benchmark_questions(runtime, path)
    with pytest.raises(InputError, match="not both"):
        benchmark_questions(runtime, path, 3)
    manifest = runtime.bundle.manifest.model_copy(update={"reference": ()})
    runtime.bundle = type(runtime.bundle)(runtime.bundle.path, manifest)
    with pytest.raises(InputError, match="no questions of its own; give some by --questions"):
        benchmark_questions(runtime)


def test_it_asks_by_the_chat_template_or_plainly(runtime, monkeypatch):
    runtime.chat = ChatTemplate("{% for m in messages %}tom {{ m.content }} how many{% endfor %}")
    asked, generation = [], runtime.generation

    def spy(prompt, **settings):
        asked.append(list(prompt.prompt))
        return generation(prompt, **settings)

    monkeypatch.setattr(runtime, "generation", spy)
    found = benchmark(runtime, ["has 3 ?"], rounds=2)
    assert len(found.generations) == 2
    assert asked[-1] == runtime.ask("has 3 ?") != runtime.prompt("has 3 ?")
    benchmark(runtime, ["has 3 ?"], rounds=1, plain=True)
    assert asked[-1] == runtime.prompt("has 3 ?")


def test_it_takes_what_the_base_package_installs(bundle):
    script = (
        "import sys; from hwsearch.runtime import Runtime; "
        "from hwsearch.jobs.bundles.benchmark import benchmark, benchmark_questions; "
        f"runtime = Runtime({str(bundle.path)!r}, threads=1); "
        "benchmark(runtime, benchmark_questions(runtime, problems=2), rounds=1); "
        "heavy = {'torch', 'onnx', 'transformers', 'optuna', 'pandas', 'scipy'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
