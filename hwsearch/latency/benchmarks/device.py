"""A device of a benchmark: bandwidth, start-up cost and rates that explain it, and how far off they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from hwsearch.denoisers.accounting import parameters
from hwsearch.denoisers.geometry import Geometry
from hwsearch.errors import TableError
from hwsearch.latency.benchmarks.llama_bench import TYPES, BenchRun, BenchTest, read_bench
from hwsearch.latency.benchmarks.passes import (
    ENCODINGS,
    file_encoding,
    prompt_operators,
    token_operators,
)
from hwsearch.latency.devices.device import (
    Device,
    DeviceInfo,
    Provenance,
    PublishedCheck,
    load_device,
)
from hwsearch.latency.devices.folder import check_device_name, check_new, write_published
from hwsearch.latency.devices.roofline import FormatRate, Roofline, TimedPass, fit_memory, fit_rate
from hwsearch.plan import WeightFormat

#: The format that a type of file stands for; of two types of one format the first is taken.
STANDS_FOR: Final = {
    "F32": WeightFormat.FP32,
    "F16": WeightFormat.FP16,
    "BF16": WeightFormat.FP16,
    "Q8_0": WeightFormat.W8,
    "Q4_1": WeightFormat.W4_ASYM,
    "Q4_0": WeightFormat.W4,
    "Q4_K_M": WeightFormat.W4,
}

#: How far parameters may be from those of the sizes that are given: files differ by what they tie.
MOST_OFF: Final = 0.05

SMALL_ROWS = "between one row and a prompt the formula interpolates"
TOO_FEW = "no format could be held out: that needs three"
DIGITS = 4


def import_bench(
    path: Path, name: str, geometry: Geometry, out: Path, *, overwrite: bool = False
) -> Device:
    """A device from what llama-bench wrote, ``out/NAME``, whole or not at all.

    Args:
        path: the output of llama-bench, of one model in two types or more.
        name: the device's name.
        geometry: sizes of the model.
        out: folder of devices.
        overwrite: replace a device of the same name.

    Raises:
        TableError: the file cannot be read, is of another model, lacks prompt or token rows, or its times
            cannot be explained.
        InputError: the device exists and `overwrite` is false.
    """
    check_device_name(name)
    check_new(out / name, overwrite)
    bench = read_bench(path)
    _check_model(bench, geometry)
    _check_rows(bench)
    return load_device(write_published(_info(bench, name, geometry), out))


def _check_model(bench: BenchRun, geometry: Geometry) -> None:
    sizes = parameters(geometry)
    layers = sizes.num_layers * (sizes.attention + sizes.mlp)
    most = sizes.embedding + layers + sizes.norms + geometry.vocab_size * geometry.hidden_size
    least = sizes.embedding + layers
    found = bench.tests[0].model_n_params
    if not least * (1 - MOST_OFF) <= found <= most * (1 + MOST_OFF):
        raise TableError(
            f"{bench.where}: the model has {found:,} parameters, and {least:,} to {most:,} by the sizes that "
            "are given; say whose it is by --shapes-of"
        )


def _check_rows(bench: BenchRun) -> None:
    kinds = [kind for kind in bench.kinds if kind in STANDS_FOR]
    if len(kinds) < 2:
        raise TableError(
            f"{bench.where}: prompt and token rows of {' and '.join(kinds) or 'no type'}; two types of "
            f"{', '.join(TYPES.values())} are needed, each with both: llama-bench -p 512 -n 128 -m A.gguf "
            "-m B.gguf -o json"
        )


def _info(bench: BenchRun, name: str, geometry: Geometry) -> DeviceInfo:
    tokens = {kind: _token_pass(bench, kind, geometry) for kind in bench.kinds}
    bandwidth, start_us = fit_memory([*tokens.values()])
    rates: dict[WeightFormat, FormatRate] = {}
    for kind in bench.kinds:
        fmt = STANDS_FOR.get(kind)
        if fmt is not None and fmt not in rates:
            timed = _prompt_pass(bench, kind, geometry)
            rates[fmt] = FormatRate(
                stands_for=kind,
                bytes_per_weight=ENCODINGS[kind].body,
                tflops=_rounded(fit_rate(timed, bandwidth, start_us)),
            )
    first, checks = bench.tests[0], tuple(_checks(bench, geometry, tokens))
    backend = next((one for one in first.backends.split(",") if one != "CPU"), "CPU")
    return DeviceInfo(
        name=name,
        provenance=Provenance.PUBLISHED,
        description=(first.gpu_info if backend != "CPU" else first.cpu_info) or first.backends,
        runtime=f"llama.cpp-{backend.lower()}",
        threads=first.n_threads,
        roofline=Roofline(
            bandwidth_gbps=_rounded(bandwidth), operator_us=_rounded(start_us), rates=rates
        ),
        checks=checks,
        sources=tuple(_source(bench, kind) for kind in bench.kinds),
        caveats=(SMALL_ROWS, *(() if checks else (TOO_FEW,))),
    )


def _checks(
    bench: BenchRun, geometry: Geometry, tokens: dict[str, TimedPass]
) -> Iterator[PublishedCheck]:
    """Each type's token and prompt, predicted by a fit that saw no other row of it.

    A prompt takes the rate of the other type whose kernels are the most alike.
    """
    for kind, timed in tokens.items():
        others = {other: one for other, one in tokens.items() if other != kind}
        if len(others) < 2:
            return
        memory = fit_memory([*others.values()])
        source = _source(bench, kind)
        yield _check(bench, kind, 1, timed.predict_ms(*memory, 1.0), timed.ms, source)
        like = min(others, key=lambda other: _unlike(kind, other))
        rate = fit_rate(_prompt_pass(bench, like, geometry), *memory)
        prompt, test = _prompt_pass(bench, kind, geometry), bench.prompt(kind)
        assert test is not None, "a kind has both"
        passes = -(-test.n_prompt // test.n_ubatch)
        rows = min(test.n_prompt, test.n_ubatch)
        predicted = prompt.predict_ms(*memory, rate) / passes
        yield _check(bench, kind, rows, predicted, prompt.ms / passes, source)


def _unlike(kind: str, other: str) -> tuple[bool, float]:
    """Kernels of blocks with a least value (``_1``) are their own; beyond that, the nearest bits."""
    has_least = kind.endswith("_1") != other.endswith("_1")
    return has_least, abs(ENCODINGS[other].body - ENCODINGS[kind].body)


def _check(
    bench: BenchRun, kind: str, rows: int, predicted_ms: float, ms: float, source: str
) -> PublishedCheck:
    return PublishedCheck(
        held_out="format",
        model=bench.tests[0].model_type,
        format=kind,
        rows=rows,
        predicted_ms=_rounded(predicted_ms),
        published_ms=_rounded(ms),
        source=source,
    )


def _token_pass(bench: BenchRun, kind: str, geometry: Geometry) -> TimedPass:
    test = bench.token(kind)
    assert test is not None, "a kind has both"
    operators = token_operators(geometry, test.n_depth + max(1, test.n_gen // 2))
    return TimedPass.of(operators, _stored(test, kind, geometry), 1e3 / test.avg_ts)


def _prompt_pass(bench: BenchRun, kind: str, geometry: Geometry) -> TimedPass:
    test = bench.prompt(kind)
    assert test is not None, "a kind has both"
    operators = prompt_operators(
        geometry, test.n_prompt, test.n_ubatch, test.head_rows, test.n_depth
    )
    ms = 1e3 * test.n_prompt / test.avg_ts
    return TimedPass.of(operators, _stored(test, kind, geometry), ms)


def _stored(test: BenchTest, kind: str, geometry: Geometry) -> Mapping[str, float]:
    return file_encoding(kind, geometry, test.model_size, test.model_n_params).bytes_per_weight


def _source(bench: BenchRun, kind: str) -> str:
    prompt, token = bench.prompt(kind), bench.token(kind)
    assert isinstance(prompt, BenchTest) and isinstance(token, BenchTest), "a kind has both"
    return (
        f"{token.model_type}: {prompt.avg_ts:g} tok/s of {prompt.n_prompt} read, {token.avg_ts:g} of "
        f"{token.n_gen} written; llama-bench {token.build_commit} {token.test_time[:10]}".rstrip()
    )


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
