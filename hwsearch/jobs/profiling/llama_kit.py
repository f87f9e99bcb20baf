"""A folder that times llama.cpp on a device: the model in three types, and the command to run."""

from __future__ import annotations

from pathlib import Path

from hwsearch.bundle.gguf import export_gguf
from hwsearch.compression import compress
from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.files import refuse_existing, whole_folder
from hwsearch.plan import CompressionPlan

#: Types that a device is fitted to, by llama.cpp's name, and the format that stands for each.
TYPES = {"F16": "fp16", "Q8_0": "w8", "Q4_0": "w4"}

#: Tokens of the prompt, and tokens written after it, which `hwsearch profile --import` reads.
PROMPT, WRITTEN = 512, 128

SCRIPT = "bench.sh"

_TEXT = """#!/bin/sh
# Times this folder's model with llama-bench of llama.cpp, which has to be on the PATH. Options of
# llama-bench may follow, such as -t 4 (threads) or -ngl 99 (layers on a graphics card).
cd "$(dirname "$0")" || exit 1
llama-bench -p {prompt} -n {written} {models} -o json "$@" > bench.json || exit 1
echo "bring bench.json back, and: hwsearch profile --import bench.json --device NAME --shapes-of MODEL" >&2
"""


def write_llama_kit(
    model: str, folder: Path, options: ModelOptions | None = None, *, overwrite: bool = False
) -> tuple[Path, list[str]]:
    """Write a model in three types, and a script that benchmarks them.

    Args:
        model: a bundled name, a folder, a GGUF file or a hub id.
        folder: to be made; complete, or not there at all.
        options: how the model is loaded.
        overwrite: replace a folder that is there.

    Returns:
        The script, and the models' names.

    Raises:
        InputError: the folder exists and `overwrite` is false, or llama.cpp has no architecture like
            the model.
        PlanError: blocks do not divide a linear.
    """
    refuse_existing(folder, overwrite)
    denoiser = (options or ModelOptions()).load(model)
    with whole_folder(folder, "replace" if overwrite else "refuse") as fresh:
        files = []
        for kind, fmt in TYPES.items():
            plan = CompressionPlan.uniform(denoiser.num_layers, fmt, fmt, head=fmt)
            written = export_gguf(compress(denoiser, plan), fresh / kind)
            files.append(str(written.relative_to(fresh)))
        named = " ".join(f"-m {file}" for file in files)
        script = fresh / SCRIPT
        script.write_text(
            _TEXT.format(prompt=PROMPT, written=WRITTEN, models=named), encoding="utf-8"
        )
        script.chmod(0o755)
    return folder / SCRIPT, files
