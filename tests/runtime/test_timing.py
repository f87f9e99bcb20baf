import subprocess
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from hwsearch.decoding.passes import PassKind
from hwsearch.errors import InputError
from hwsearch.runtime import Runtime
from hwsearch.runtime.timing import (
    WARM_UP,
    GenerationTimes,
    TimedGeneration,
    peak_memory_bytes,
    time_generations,
)

#: What the tiny bundle's schedule runs: 8 tokens one by one, a refresh before every other.
PASSES = {PassKind.REFRESH: 4, PassKind.ADVANCE: 0, PassKind.STEP: 4}


def times(*entries):
    return GenerationTimes(tuple(TimedGeneration(*entry, PASSES) for entry in entries), None)


def test_figures_are_of_all_generations_together():
    found = times((100.0, 8), (300.0, 4))
    # not the mean of 80 and 13.3 tokens per second: what is slow counts by its time
    assert found.tokens_per_second == pytest.approx(12 / 0.4)
    assert found.tokens_per_pass == pytest.approx(12 / 16)
    assert found.passes == {PassKind.REFRESH: 8, PassKind.ADVANCE: 0, PassKind.STEP: 8}
    assert [found.latency_ms(n) for n in (0, 50, 90, 100)] == [100.0, 200.0, 280.0, 300.0]
    assert times((5.0, 0)).tokens_per_second == 0.0


def test_every_prompt_is_timed_in_every_round_after_a_warm_up(bundle, monkeypatch):
    runtime = Runtime(bundle, threads=1)
    prompts = [runtime.prompt(text) for text in ("tom", "tom has 3 apples", "how many")]
    asked, generation = [], runtime.generation

    def spy(prompt, *, seed=0):
        asked.append((prompts.index(prompt), seed))
        return generation(prompt, seed=seed)

    monkeypatch.setattr(runtime, "generation", spy)
    ticks = count()  # a clock on which every look takes a second
    found = time_generations(runtime, prompts, rounds=2, clock=lambda: float(next(ticks)))
    assert asked == [(1, 0)] * WARM_UP + [(place, seed) for seed in (0, 1) for place in range(3)]
    assert [one.ms for one in found.generations] == [1000.0] * 6
    assert all(one.passes == PASSES for one in found.generations)


def test_tokens_count_up_to_the_first_end_token(bundle, monkeypatch):
    runtime = Runtime(bundle, threads=1)
    prompt = runtime.prompt("tom has 3 apples")
    written = np.array(runtime.generate_tokens(prompt))
    assert time_generations(runtime, [prompt], rounds=1).tokens == 8
    # let the token written third end the answer
    place = int(np.flatnonzero(written == written[2])[0])
    manifest = bundle.manifest.model_copy(update={"end_token_ids": (int(written[2]),)})
    runtime.bundle = type(bundle)(bundle.path, manifest)
    assert time_generations(runtime, [prompt], rounds=1).tokens == place < 8
    with pytest.raises(InputError, match="at least one question and one round, got 0 and 3"):
        time_generations(runtime, [])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_the_peak_stays_when_memory_is_given_back():
    script = (
        "from hwsearch.runtime.timing import peak_memory_bytes as peak; before = peak(); "
        "held = bytearray(b'1') * 200_000_000; del held; "
        "rise = peak() - before; assert 150e6 < rise < 450e6, rise; assert before < 400e6, before"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_where_proc_tells_nothing_the_system_is_asked(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr("hwsearch.runtime.timing._STATUS", Path("/nowhere"))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak_memory_bytes() >= used * (1 if sys.platform == "darwin" else 1024)
