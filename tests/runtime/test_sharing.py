import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hwsearch.bundle import write_bundle
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.plan import CommitRule, CompressionPlan, Decoding
from hwsearch.runtime import OnnxBackend, Runtime
from hwsearch.testing.tiny import tiny_denoiser

GENERATIONS = 1000
ROUNDS = 4

#: What a generation may leave behind; a cache that leaks is fifteen times as much.
NOISE_BYTES = 4e3


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    """A bundle whose layers keep sinks, and that writes another text with every seed."""
    decoding = Decoding(
        gen_length=8, block_length=4, steps=8, refresh_interval=2, rule=CommitRule.RANDOM
    )
    plan = CompressionPlan.uniform(2).model_copy(update={"decoding": decoding})
    return write_bundle(
        compress(tiny_denoiser(), plan),
        KeptShares((0.5, 0.7)),
        tmp_path_factory.mktemp("drawing") / "bundle",
    )


def prompts(runtime, count):
    """Of several lengths, so that caches of two generations would not even fit each other."""
    texts = [f"tom has {n} apples" + " and 2 more" * (n % 3) for n in range(count)]
    return [runtime.prompt(text) for text in texts]


def test_two_threads_write_with_one_bundle_what_one_thread_writes(drawing):
    runtime = Runtime(drawing, threads=1)
    asked = list(enumerate(prompts(runtime, 50) * (GENERATIONS // 50)))

    def write(numbered):
        seed, prompt = numbered
        return tuple(runtime.generate_tokens(prompt, seed=seed))

    alone = [write(numbered) for numbered in asked]
    assert len(set(alone)) > GENERATIONS // 2, "they must differ to tell one from another"
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # change threads within passes as well
    try:
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(write, asked)) == alone
    finally:
        sys.setswitchinterval(interval)


def test_a_backend_that_shares_sessions_has_a_cache_of_its_own(bundle):
    first = OnnxBackend(bundle, threads=1)
    second = first.sharing()
    assert second.graphs is first.graphs
    tokens = np.random.default_rng(0).integers(3, 64, (1, 21))
    first.begin()
    first.refresh(tokens, 9, 13)
    wanted = first.step(tokens, 9, 13).confidence
    second.begin()
    second.refresh(tokens[:, ::-1].copy(), 9, 13)
    np.testing.assert_array_equal(first.step(tokens, 9, 13).confidence, wanted)
    assert (second.step(tokens, 9, 13).confidence != wanted).any()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_memory_does_not_grow_with_generations(drawing):
    runtime = Runtime(drawing, threads=1)
    asked = prompts(runtime, 50)
    for prompt in asked * 4:
        runtime.generate_tokens(prompt)
    held = [resident_bytes()]
    for _ in range(ROUNDS):
        for seed in range(GENERATIONS // ROUNDS):
            runtime.generate_tokens(asked[seed % len(asked)], seed=seed)
        held.append(resident_bytes())
    # a leak grows in every round; what the allocator takes at once, it takes in some of them
    assert min(np.diff(held)) < NOISE_BYTES * GENERATIONS / ROUNDS


def resident_bytes():
    import resource

    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
