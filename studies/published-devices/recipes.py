"""Which published rows make which device, and what else is predicted to check it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hwsearch.plan import WeightFormat

FP16, FP8, W8A8 = WeightFormat.FP16, WeightFormat.FP8, WeightFormat.W8A8
W8, W4 = WeightFormat.W8, WeightFormat.W4


@dataclass(frozen=True)
class Pick:
    """One row of the file, and how it was run.

    Attributes:
        model, format, software: what the row says; of `software` a part is enough.
        hardware: its device, where that is not the recipe's.
        context: tokens before the generated ones, on average.
        prompt: tokens of the prompt.
        ubatch: rows of a pass.
        head_rows: rows of a pass that get logits.
        head: whether a generated token runs the head.
    """

    model: str
    format: str
    software: str = ""
    hardware: str | None = None
    context: int = 64
    prompt: int = 512
    ubatch: int = 512
    head_rows: int = 1
    head: bool = True


@dataclass(frozen=True)
class Extra:
    """A row that no fit sees, predicted with the rate of a format."""

    held_out: Literal["model", "rows", "build"]
    pick: Pick
    phase: Literal["decode", "prefill"]
    rate: WeightFormat


@dataclass(frozen=True)
class Recipe:
    """How a published device is made.

    Attributes:
        name: folder of the device.
        hardware: the device, as the file calls it.
        description: the device, in words.
        runtime: whose numbers they are.
        memory: rows whose decode times give bandwidth and start-up cost.
        rates: row whose prefill time gives a format's rate.
        extras: further checks.
        caveats: what a reader should know.
        power: scope of the file's power figure, where it was measured.
        threads: threads of a CPU.
    """

    name: str
    hardware: str
    description: str
    runtime: str
    memory: tuple[Pick, ...]
    rates: Mapping[WeightFormat, Pick]
    extras: tuple[Extra, ...] = ()
    caveats: tuple[str, ...] = ()
    power: str | None = None
    power_pick: Pick | None = None
    threads: int = 1


@dataclass(frozen=True)
class Datasheet:
    """A modelled device: peak numbers of a datasheet."""

    name: str
    description: str
    bandwidth_gbps: float
    tflops: Mapping[WeightFormat, float]
    sources: tuple[str, ...] = field(default=())


METAL_CAVEAT = (
    "weights become 16-bit floats before they are multiplied: w8 and w4 save memory traffic alone"
)
SMALL_ROWS_CAVEAT = (
    "no sweep over rows was published: between one row and a prompt the formula interpolates"
)


def apple(
    name: str,
    cores: int,
    chip: str,
    formats: str = "F16 Q8_0 Q4_0",
    *,
    newer: bool = False,
    cross: bool = False,
) -> Recipe:
    """An Apple GPU of llama.cpp's LLaMA-2-7B scoreboard."""
    rate_of = {"F16": FP16, "Q8_0": W8, "Q4_0": W4}
    # until March 2024 llama.cpp computed logits of every row of a prompt
    head_rows = 1 if newer else 512
    picks = {
        rate_of[fmt]: Pick("LLaMA-2-7B", fmt, "reference build", head_rows=head_rows)
        for fmt in formats.split()
    }
    extras = [
        Extra("model", Pick("LLaMA-3-8B", fmt, "Metal b27", context=256), phase, rate)
        for fmt, rate in (("F16", FP16), ("Q4_K_M", W4))
        for phase in ("decode", "prefill")
    ]
    return Recipe(
        name=name,
        hardware=f"Apple {chip} GPU ({cores}-core)",
        description=f"Apple {chip}, {cores}-core GPU",
        runtime="llama.cpp-metal",
        memory=tuple(picks.values()),
        rates=picks,
        extras=tuple(extras) if cross else (),
        caveats=(
            METAL_CAVEAT,
            SMALL_ROWS_CAVEAT,
            *(() if len(picks) > 2 else ("no format could be held out: two were published",)),
        ),
    )


def ik_cpu(name: str, hardware: str, description: str, half: str, threads: int) -> Recipe:
    """A CPU of the comparison of CPU engines in ik_llama.cpp's discussion 164."""
    names = {FP16: half, W8: "Q8_0", W4: "Q4_0"}
    picks = {fmt: Pick("LLaMA-3.1-8B", row, "ik_llama.cpp -rtr 1") for fmt, row in names.items()}
    return Recipe(
        name=name,
        hardware=hardware,
        description=description,
        runtime="ik_llama.cpp-cpu",
        memory=tuple(picks.values()),
        rates=picks,
        caveats=(
            "a prompt used all cores and a token the best few, so bandwidth is of few threads",
            "start-up cost contains the unpacking of weights",
            "another engine on the same machine is up to three times slower",
            SMALL_ROWS_CAVEAT,
        ),
        threads=threads,
    )


def jetson(mode: str, clock: str) -> Recipe:
    """A power mode of the Jetson Orin Nano Super."""
    qwen, small = Pick("Qwen3-0.6B", "Q8_0"), Pick("SmolLM2-360M", "Q8_0")
    llama = Pick("Llama-3.2-1B", "Q4_K_M")
    return Recipe(
        name=f"jetson-orin-nano-super-{mode.lower()}",
        hardware=f"Jetson Orin Nano 8GB Super ({mode}, GPU {clock})",
        description=f"NVIDIA Jetson Orin Nano 8 GB Super, {mode} mode, GPU at {clock}",
        runtime="llama.cpp-cuda",
        memory=tuple(_at_2048(pick) for pick in (llama, qwen, small)),
        rates={W8: _at_2048(qwen), W4: _at_2048(llama)},
        caveats=(
            "formats were published on different models, so a held-out format is a held-out model, too",
            "three models disagree most at 7 W, and the smallest is slower at MAXN than at 25 W",
            "prefill is 2048 tokens over the time to the first token",
            "power is that of the rail VDD_CPU_GPU_CV: neither memory nor the board",
            SMALL_ROWS_CAVEAT,
        ),
        power="rail VDD_CPU_GPU_CV while Llama-3.2-1B Q4_K_M ran",
        power_pick=_at_2048(llama),
    )


def _at_2048(pick: Pick) -> Pick:
    return Pick(pick.model, pick.format, "b9292", context=2048 + 128, prompt=2048)


def rtx(
    name: str, rates: Mapping[WeightFormat, Pick], extras: tuple[Extra, ...], *caveats: str
) -> Recipe:
    """A GeForce card: decode and fp16 of May 2024, everything else as given."""
    half = Pick("LLaMA-3-8B", "F16", "b2824", context=256)
    four = Pick("LLaMA-3-8B", "Q4_K_M", "b2824", context=256)
    return Recipe(
        name=name.lower().replace(" ", "-"),
        hardware=name,
        description=f"NVIDIA GeForce {name}",
        runtime="llama.cpp-cuda",
        memory=(half, four),
        rates={FP16: half, W4: four, **rates},
        extras=extras,
        caveats=(
            "no format could be held out: decode was published in two formats by one build",
            "rates are what memory leaves of a prompt, with sums kept in 16 bits: not shares of a peak",
            *caveats,
        ),
    )


def _sweep(fmt: str, rows: int) -> Pick:
    return Pick("LLaMA-3-8B", fmt, f"M={rows} ", ubatch=rows)


def _sweep_checks(fmt: str, rate: WeightFormat, *rows: int) -> tuple[Extra, ...]:
    return tuple(Extra("rows", _sweep(fmt, count), "prefill", rate) for count in rows)


_SCOREBOARD = Pick("LLaMA-2-7B", "Q4_0", "scoreboard")
_NEWER_BUILD = (
    Extra("build", _SCOREBOARD, "decode", W4),
    Extra("build", _SCOREBOARD, "prefill", W4),
)
_PI_16GB = "Raspberry Pi 5 16GB (D0)"
_PHONE = [
    Pick(model, fmt, prompt=64)
    for model in ("Llama-3.2-1B", "Llama-3.2-3B")
    for fmt in ("BF16", "W4A8 g32 (SpinQuant)")
]
_ORIN = [
    Pick(f"Qwen2 {size} (R1-distill)", "Q4_K_M", "b4675", hardware)
    for size, hardware in (
        ("14B", "Jetson AGX Orin 64GB (MAXN, mode not restated)"),
        ("32B", "Jetson AGX Orin 64GB (MAXN)"),
    )
]

RECIPES = (
    apple("apple-m1", 8, "M1", "Q8_0 Q4_0"),
    apple("apple-m1-max", 32, "M1 Max", cross=True),
    apple("apple-m2", 10, "M2"),
    apple("apple-m2-max", 38, "M2 Max"),
    apple("apple-m2-ultra", 76, "M2 Ultra", cross=True),
    apple("apple-m3-max", 40, "M3 Max", cross=True),
    apple("apple-m3-ultra", 80, "M3 Ultra", newer=True),
    apple("apple-m4", 10, "M4", newer=True),
    apple("apple-m4-pro", 20, "M4 Pro", newer=True),
    apple("apple-m4-max", 40, "M4 Max", newer=True),
    ik_cpu("apple-m2-max-cpu", "Apple M2 Max CPU (8P cores)", "Apple M2 Max, CPU", "F16", 8),
    ik_cpu("ryzen-7950x", "AMD Ryzen 9 7950X (16C Zen4)", "AMD Ryzen 9 7950X", "BF16", 16),
    rtx(
        "RTX 3090",
        {W8: _sweep("Q8_0", 64)},
        (*_sweep_checks("Q8_0", W8, 16, 32), *_NEWER_BUILD),
        "w8 multiplies 8-bit integers (June 2024); w4 was published before that and multiplies 16-bit floats",
    ),
    rtx(
        "RTX 4090",
        {W4: _sweep("Q4_0", 512)},
        (*_sweep_checks("Q4_0", W4, 16, 32, 64, 128, 256), *_NEWER_BUILD),
        "w4 multiplies 8-bit integers (June 2024); no 8-bit weights were published",
    ),
    Recipe(
        name="snapdragon-8-gen-3",
        hardware="Snapdragon 8 Gen 3 CPU (OnePlus 12, 16GB)",
        description="Qualcomm Snapdragon 8 Gen 3, CPU of a OnePlus 12",
        runtime="executorch-xnnpack",
        memory=tuple(_PHONE),
        rates={FP16: _PHONE[2], W4: _PHONE[3]},
        extras=(Extra("model", Pick("Llama-3-8B", "W4A8 g128"), "decode", W4),),
        caveats=(
            "fp16 is bf16; w4 has 8-bit activations, one scale a token",
            "prompts were 64 tokens long",
            SMALL_ROWS_CAVEAT,
        ),
    ),
    Recipe(
        name="raspberry-pi-5",
        hardware="Raspberry Pi 5 (4x Cortex-A76)",
        description="Raspberry Pi 5, 4 Cortex-A76 cores",
        runtime="llama.cpp-cpu",
        memory=tuple(
            Pick(model, fmt, "repack")
            for model in ("LFM2-350M", "LFM2-700M")
            for fmt in ("Q6_K", "Q5_K")
        ),
        rates={
            W8: Pick("TinyLlama-1.1B", "Q8_0", "llamafile-0.7"),
            W4: Pick("LLaMA-2-7B", "Q4_0", "sgemm", "Raspberry Pi 5 8GB (4x Cortex-A76)", 64, 109),
        },
        extras=(
            Extra("model", Pick("TinyLlama-1.1B", "Q8_0", "llamafile-0.7"), "decode", W8),
            Extra("model", Pick("Llama-3.2-3B", "Q4_K_M", "ollama", _PI_16GB), "decode", W4),
            Extra("model", Pick("Llama-3.1-8B", "Q4_K_M", "ollama", _PI_16GB), "decode", W4),
            Extra("model", Pick("Llama-2-13B", "Q4_0", "ollama", _PI_16GB), "decode", W4),
        ),
        caveats=(
            "bandwidth is fitted on Q5_K and Q6_K of a hybrid model, which stand for no format here",
            "w8 prefill is an integer, second-hand, of a prompt of unknown length (512 assumed)",
            "w4 prefill is of April 2024; kernels have improved since",
            "the 16 GB board's format is assumed from ollama's default",
            SMALL_ROWS_CAVEAT,
        ),
        power="the wall, peak, while Llama-3.1-8B ran on the 16 GB board",
        power_pick=Pick("Llama-3.1-8B", "Q4_K_M", "ollama", _PI_16GB),
        threads=4,
    ),
    jetson("7W", "408 MHz"),
    jetson("15W", "612 MHz"),
    jetson("25W", "820 MHz"),
    jetson("MAXN", "1020 MHz"),
    Recipe(
        name="jetson-agx-orin-maxn",
        hardware="Jetson AGX Orin 64GB (MAXN)",
        description="NVIDIA Jetson AGX Orin 64 GB, MAXN mode",
        runtime="llama.cpp-cuda",
        memory=tuple(_ORIN),
        rates={W4: _ORIN[0]},
        extras=(Extra("model", _ORIN[1], "prefill", W4),),
        caveats=(
            "no format could be held out: one was published",
            "the power mode of the 14B run is not restated by its source",
            SMALL_ROWS_CAVEAT,
        ),
    ),
)

_HOPPER = "http://glennklockwood.com/garden/processors/h100"
_BOOK = "https://llmbook.apartsin.com/appendices/appendix-g-hardware-compute/section-g.1.html"
DATASHEETS = (
    Datasheet(
        "h200-sxm",
        "NVIDIA H200 SXM 141 GB, from its datasheet",
        4800,
        {FP16: 989, FP8: 1979, W8A8: 1979, W4: 989},
        (f"rates without sparsity: {_HOPPER}", f"bandwidth: {_BOOK}"),
    ),
    Datasheet(
        "h100-sxm",
        "NVIDIA H100 SXM 80 GB, from its datasheet",
        3350,
        {FP16: 989, FP8: 1979, W8A8: 1979, W4: 989},
        (f"rates without sparsity: {_HOPPER}", f"bandwidth: {_BOOK}"),
    ),
    Datasheet(
        "l40s",
        "NVIDIA L40S 48 GB, from its datasheet",
        864,
        {FP16: 362, FP8: 733, W8A8: 733, W4: 362},
        (f"rates without sparsity and bandwidth: {_BOOK}",),
    ),
)
