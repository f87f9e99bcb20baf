"""Published devices come out of their rows as llama-bench would write them: as the shipped fits have them."""

import json
import re

import pytest

from hwsearch.denoisers.geometry import Geometry
from hwsearch.latency.benchmarks.device import import_bench
from hwsearch.latency.devices.device import load_device

LLAMA_2, LLAMA_3 = (
    Geometry(32000, 4096, 32, 32, 32, 128, 11008),
    Geometry(128256, 4096, 32, 32, 8, 128, 14336),
)
PARAMETERS = {LLAMA_2: 6_738_415_616, LLAMA_3: 8_030_261_248}

#: Devices of one model with both kinds of rows in two types or more, and when they were run: Apple's
#: GPUs from November 2023 on, later chips by later builds.
PUBLISHED = {
    "apple-m1": (LLAMA_2, "2023-11-21T00:00:00Z"),
    "apple-m1-max": (LLAMA_2, "2023-11-21T00:00:00Z"),
    "apple-m2": (LLAMA_2, "2023-11-21T00:00:00Z"),
    "apple-m2-max": (LLAMA_2, "2023-11-21T00:00:00Z"),
    "apple-m2-ultra": (LLAMA_2, "2023-11-21T00:00:00Z"),
    "apple-m3-max": (LLAMA_2, "2023-11-21T00:00:00Z"),
    "apple-m3-ultra": (LLAMA_2, "2025-03-15T00:00:00Z"),
    "apple-m4": (LLAMA_2, "2024-11-15T00:00:00Z"),
    "apple-m4-pro": (LLAMA_2, "2024-11-15T00:00:00Z"),
    "apple-m4-max": (LLAMA_2, "2024-11-15T00:00:00Z"),
    "apple-m2-max-cpu": (LLAMA_3, "2024-12-24T00:00:00Z"),
    "ryzen-7950x": (LLAMA_3, "2024-12-24T00:00:00Z"),
}

ROW = re.compile(
    r"\S+ (?P<kind>\S+), prefill (?P<prompt>[\d.]+) tok/s and decode (?P<token>[\d.]+) tok/s"
)


def rows(sources, geometry, test_time):
    """What llama-bench writes of these figures."""
    for source in sources:
        said = ROW.match(source)
        shared = {
            "model_type": f"llama 7B {said['kind']}",
            "model_n_params": PARAMETERS[geometry],
            "n_ubatch": 512,
            "test_time": test_time,
        }
        yield shared | {"n_prompt": 512, "n_gen": 0, "avg_ts": float(said["prompt"])}
        yield shared | {"n_prompt": 0, "n_gen": 128, "avg_ts": float(said["token"])}


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_import_fits_what_is_shipped(name, tmp_path):
    geometry, test_time = PUBLISHED[name]
    shipped = load_device(name).info
    bench = tmp_path / "bench.json"
    bench.write_text(json.dumps([*rows(shipped.sources, geometry, test_time)]))
    found = import_bench(bench, "mine", geometry, tmp_path / "tables").info
    ours, theirs = found.roofline, shipped.roofline
    assert (ours.bandwidth_gbps, ours.operator_us) == (theirs.bandwidth_gbps, theirs.operator_us)
    assert ours.rates.keys() == theirs.rates.keys()
    for fmt, rate in theirs.rates.items():
        assert ours.rates[fmt].tflops == rate.tflops
        assert ours.rates[fmt].bytes_per_weight == rate.bytes_per_weight
    decode = {
        c.format: c.predicted_ms for c in shipped.checks if c.rows == 1 and c.held_out == "format"
    }
    assert decode == {c.format: c.predicted_ms for c in found.checks if c.rows == 1}


def test_when_it_was_run_says_which_rows_have_logits(tmp_path):
    """The head's product over all rows of a prompt takes a share of its time, so rates differ."""
    sources = load_device("apple-m2").info.sources
    rates = []
    for year in ("2023", "2025"):
        bench = tmp_path / f"{year}.json"
        bench.write_text(json.dumps([*rows(sources, LLAMA_2, f"{year}-06-01T00:00:00Z")]))
        device = import_bench(bench, f"of-{year}", LLAMA_2, tmp_path / "tables")
        rates.append([rate.tflops for rate in device.info.roofline.rates.values()])
    assert all(1.01 < before / after < 1.1 for before, after in zip(*rates, strict=True))
