"""A device of llama-bench's output: what is fitted, how far off it is, and which files are refused."""

import csv
import json
import re
from itertools import pairwise

import pytest

from hwsearch.denoisers.accounting import parameters
from hwsearch.denoisers.geometry import Geometry
from hwsearch.errors import InputError, TableError
from hwsearch.latency.benchmarks.device import import_bench
from hwsearch.latency.benchmarks.llama_bench import is_llama_bench, read_bench
from hwsearch.latency.benchmarks.passes import (
    ENCODINGS,
    Encoding,
    prompt_operators,
    token_operators,
)
from hwsearch.latency.devices.device import Provenance, load_device
from hwsearch.latency.devices.roofline import TimedPass
from hwsearch.plan import WeightFormat

LLAMA_2 = Geometry(32000, 4096, 32, 32, 32, 128, 11008)
PARAMETERS = 6_738_415_616
SAID = {"F16": "F16", "Q8_0": "Q8_0", "Q4_0": "Q4_0", "IQ4_NL": "IQ4_NL - 4.5 bpw"}


def test(kind, prompt=0, gen=0, speed=10.0, **more):
    """A row as llama-bench writes it, with some of its other columns."""
    row = {
        "build_commit": "abc1234", "cpu_info": "A CPU", "gpu_info": "", "backends": "CPU",
        "model_filename": "m.gguf", "model_type": f"llama 7B {SAID.get(kind, kind)}",
        "model_size": 1, "model_n_params": PARAMETERS, "n_batch": 2048, "n_ubatch": 512,
        "n_threads": 4, "n_prompt": prompt, "n_gen": gen, "n_depth": 0,
        "test_time": "2026-11-29T10:00:00Z", "avg_ns": 1, "avg_ts": speed, "samples_ts": [speed],
    }  # fmt: skip
    return row | more


test.__test__ = False


def machine(
    bandwidth=50.0,
    operator_us=20.0,
    tflops=2.0,
    kinds=("F16", "Q8_0", "Q4_0"),
    encodings=ENCODINGS,
):
    """Rows of a machine that is a roofline itself."""
    rows = []
    for kind in kinds:
        encoding = encodings[kind].bytes_per_weight
        token = TimedPass.of(token_operators(LLAMA_2, 64), encoding, 1.0)
        prompt = TimedPass.of(prompt_operators(LLAMA_2, 512), encoding, 1.0)
        numbers = (bandwidth, operator_us, tflops)
        rows.append(test(kind, prompt=512, speed=512e3 / prompt.predict_ms(*numbers)))
        rows.append(test(kind, gen=128, speed=1e3 / token.predict_ms(*numbers)))
        rows.append(test(kind, prompt=512, gen=128, speed=1.0))  # both at once: passed over
    return rows


def written(folder, rows, name="bench.json"):
    path = folder / name
    if name.endswith(".csv"):
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    else:
        path.write_text(json.dumps(rows))
    return path


@pytest.mark.parametrize("name", ["bench.json", "bench.csv"])
def test_a_machine_that_is_a_roofline_is_found_again(tmp_path, name):
    path = written(tmp_path, machine(), name)
    assert is_llama_bench(path)
    device = import_bench(path, "mine", LLAMA_2, tmp_path / "tables")
    info, roofline = device.info, device.info.roofline
    assert info.provenance is Provenance.PUBLISHED and info.runtime == "llama.cpp-cpu"
    assert info.description == "A CPU" and info.threads == 4
    assert roofline.bandwidth_gbps == pytest.approx(50, rel=1e-3)
    assert roofline.operator_us == pytest.approx(20, rel=0.01)
    assert set(roofline.rates) == {WeightFormat.FP16, WeightFormat.W8, WeightFormat.W4}
    assert all(rate.tflops == pytest.approx(2, rel=1e-3) for rate in roofline.rates.values())
    assert len(info.checks) == 6
    assert all(abs(check.error) < 0.01 for check in info.checks)
    assert "llama-bench abc1234 2026-11-29" in info.sources[0]
    assert load_device(tmp_path / "tables" / "mine").info == info


def test_a_type_that_is_slower_than_its_bytes_is_off_when_held_out(tmp_path):
    rows = [
        row | {"avg_ts": row["avg_ts"] * (0.8 if "Q8_0" in row["model_type"] else 1)}
        for row in machine()
    ]
    info = import_bench(written(tmp_path, rows), "mine", LLAMA_2, tmp_path).info
    errors = {check.format: check.error for check in info.checks if check.rows == 1}
    assert errors["Q8_0"] == pytest.approx(-0.2, abs=0.01)


@pytest.mark.parametrize("name", ["apple-m3-ultra", "apple-m4", "apple-m4-pro", "apple-m4-max"])
def test_published_devices_come_out_as_they_were_shipped(tmp_path, name):
    """Those whose benchmarks are of builds that compute one row's logits of a prompt, as llama.cpp does."""
    shipped = load_device(name).info
    rows = []
    for source in shipped.sources:
        kind, prompt, token = re.match(
            r"LLaMA-2-7B (\S+), prefill (\S+) tok/s and decode (\S+) tok/s", source
        ).groups()
        rows += [
            test(kind, prompt=512, speed=float(prompt), backends="Metal,BLAS"),
            test(kind, gen=128, speed=float(token), backends="Metal,BLAS"),
        ]
    found = import_bench(written(tmp_path, rows), "mine", LLAMA_2, tmp_path).info
    assert found.roofline == shipped.roofline and found.runtime == shipped.runtime
    decoded = [
        {c.format: (c.predicted_ms, c.published_ms) for c in info.checks if c.rows == 1}
        for info in (found, shipped)
    ]
    assert decoded[0] == decoded[1]


def test_bfloat16_is_not_taken_for_float16(tmp_path):
    rows = machine(kinds=("BF16", "Q8_0", "Q4_0"))
    assert read_bench(written(tmp_path, rows)).kinds == ["BF16", "Q8_0", "Q4_0"]


def test_a_type_that_llama_cpp_guessed_is_that_type(tmp_path):
    rows = machine()
    guessed = [row | {"model_type": f"{row['model_type']} (guessed)"} for row in rows]
    assert read_bench(written(tmp_path, guessed)).kinds == ["F16", "Q8_0", "Q4_0"]


def test_two_types_are_enough_and_say_that_none_was_held_out(tmp_path):
    rows = machine(kinds=("Q8_0", "Q4_0"))
    info = import_bench(written(tmp_path, rows), "mine", LLAMA_2, tmp_path).info
    assert not info.checks and any("no format could be held out" in c for c in info.caveats)


def test_a_type_that_is_no_format_helps_to_find_the_bandwidth(tmp_path):
    rows = machine(kinds=("Q8_0", "Q4_0", "Q6_K"))
    info = import_bench(written(tmp_path, rows), "mine", LLAMA_2, tmp_path).info
    assert set(info.roofline.rates) == {WeightFormat.W8, WeightFormat.W4}
    assert {check.format for check in info.checks} == {"Q8_0", "Q4_0", "Q6_K"}


@pytest.mark.parametrize("embedding", [None, 4.0, 2.0, 34 / 32])
@pytest.mark.parametrize("same", [True, False])
def test_a_head_is_as_fine_as_the_bytes_of_its_file_say(tmp_path, same, embedding):
    """A file of `hwsearch export` has its head as the plan says, llama.cpp's own in Q6_K."""
    kinds, sizes = ("F16", "Q8_0", "Q4_0"), parameters(LLAMA_2)
    layers = sizes.num_layers * (sizes.attention + sizes.mlp)
    files = {kind: Encoding(ENCODINGS[kind].body, ENCODINGS[kind].body) for kind in kinds}
    files = files if same else ENCODINGS
    rows = machine(encodings=files)
    for row, kind in zip(rows, [kind for kind in kinds for _ in range(3)], strict=True):
        ends = files[kind].head + (embedding or 0)
        row["model_size"] = int(
            layers * files[kind].body + 4 * sizes.norms + sizes.embedding * ends
        )
        row["model_n_params"] -= 0 if embedding else sizes.embedding  # the head is the embedding
    info = import_bench(written(tmp_path, rows), "mine", LLAMA_2, tmp_path).info
    assert info.roofline.bandwidth_gbps == pytest.approx(50, rel=1e-3)
    assert all(abs(check.error) < 0.01 for check in info.checks)


def test_a_type_with_a_least_value_stands_for_the_format_with_a_zero_point(tmp_path):
    rows = machine(kinds=("F16", "Q8_0", "Q4_0", "IQ4_NL", "Q4_1", "Q5_0", "Q5_1"))
    info = import_bench(written(tmp_path, rows), "mine", LLAMA_2, tmp_path).info
    assert set(info.roofline.rates) == {"fp16", "w8", "w4", "w4-asym"}
    assert info.roofline.rates[WeightFormat.W4_ASYM].stands_for == "Q4_1"
    assert len(info.checks) == 14 and all(abs(check.error) < 0.01 for check in info.checks)


def test_a_prompt_is_predicted_by_the_kernels_that_are_the_most_alike(tmp_path):
    """Those of blocks with a least value are slower here, by a third."""
    quick = machine(kinds=("F16", "Q8_0", "Q4_0"))
    slow = machine(tflops=1.5, kinds=("Q4_1", "Q5_1"))
    info = import_bench(written(tmp_path, quick + slow), "mine", LLAMA_2, tmp_path).info
    errors = {check.format: check.error for check in info.checks if check.rows == 512}
    assert errors["Q4_0"] == pytest.approx(0, abs=0.01)
    assert errors["Q4_1"] == pytest.approx(0, abs=0.01)


BAD = {
    "another model": (
        [row | {"model_n_params": 1_100_000_000} for row in machine()],
        "the model has 1,100,000,000 parameters",
    ),
    "two models": (
        [*machine(), test("Q8_0", gen=64, model_n_params=PARAMETERS + 1)],
        "rows have model_n_params",
    ),
    "two machines": ([*machine(), test("Q8_0", gen=64, cpu_info="B")], "rows have cpu_info"),
    "no prompt": ([row for row in machine() if row["n_gen"]], "prompt and token rows of no type"),
    "one type": (machine(kinds=("Q8_0",)), "prompt and token rows of Q8_0; two types"),
    "none": ([], "no rows"),
    "no object": ([*machine(), 7], "row 10: a row is an object, got int"),
    "no speed": ([*machine(), test("Q8_0", gen=64, speed=0)], "row 10: avg_ts"),
    "not a number": ([*machine(), test("Q8_0", gen="many")], "row 10: n_gen"),
    "endless": ([*machine(), test("Q8_0", gen=10**9)], "row 10: n_gen"),
    "prompts quicker than memory": (
        [row | {"avg_ts": 1e6} if row["n_prompt"] else row for row in machine()],
        "memory and start-up alone take",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_and_nothing_is_written(tmp_path, case):
    rows, said = BAD[case]
    path = written(tmp_path, rows)
    with pytest.raises(TableError, match=said) as refused:
        import_bench(path, "mine", LLAMA_2, tmp_path / "tables")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize("text", ["[", '[{"a": ', "[" * 100_000, "[]", '[{"model_type": 1e999}]'])
def test_a_damaged_file_is_refused(tmp_path, text):
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(TableError, match=r"b\.json"):
        read_bench(tmp_path / "b.json")


def test_every_cut_of_a_file_is_read_or_refused(tmp_path):
    whole = json.dumps(machine())
    cuts = range(0, len(whole), 97)
    for start, stop in pairwise(cuts):
        (tmp_path / "b.json").write_text(whole[:start] + whole[stop:])
        try:
            import_bench(tmp_path / "b.json", "mine", LLAMA_2, tmp_path, overwrite=True)
        except (TableError, InputError) as error:
            assert "\n" not in str(error)


def test_a_device_that_exists_is_left_alone_unless_asked(tmp_path):
    path = written(tmp_path, machine())
    import_bench(path, "mine", LLAMA_2, tmp_path)
    with pytest.raises(InputError, match="exists already"):
        import_bench(path, "mine", LLAMA_2, tmp_path)
    import_bench(path, "mine", LLAMA_2, tmp_path, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bench.json", "mine"]


def test_a_prompt_of_endless_passes_is_refused_before_they_are_priced(tmp_path):
    rows = [
        row | {"n_prompt": 1 << 24, "n_ubatch": 1} if row["n_prompt"] else row for row in machine()
    ]
    with pytest.raises(
        TableError, match="16777216 tokens in passes of 1 takes more than 4096 passes"
    ):
        read_bench(written(tmp_path, rows))
