"""How far llama.cpp's predictions are from those of the simulation of an exported file, and why.

    pip install "hwsearch[llama-cpp]"
    python -m tests.smollm2 --download
    python studies/llama-cpp/agreement.py gsm-mini smollm2
    CMAKE_ARGS="-DGGML_BLAS=ON -DGGML_BLAS_VENDOR=OpenBLAS" pip install --force-reinstall --no-binary \\
        llama-cpp-python llama-cpp-python                     # in another environment, with libopenblas-dev
    python studies/llama-cpp/agreement.py gsm-mini smollm2    # there

Each model is read bidirectionally on texts of six problems, of more than 32 tokens each, and written in Q8_0
alone, in Q4_0 alone, and in a mix. Its predictions are held against the simulation with the file's weights
and one of three roundings of the inputs: the plan's own (scales of 32 bits), llama.cpp's (of 16), none. A
build with BLAS is only held against the last: its products are of floats. *floor* is how far the simulation
is from itself once its floats are disturbed by four units in the last place, the largest of four times.
*exact* is attention in 32 bits, operator by operator; llama.cpp's default keeps keys and values in 16.
Rows are put into agreement.csv beside this file, in place of those of the same kind.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "formats"))

from table import put

from hwsearch.bundle.gguf import export_gguf, gguf_network
from hwsearch.compression import compress
from hwsearch.compression.perturbed import perturbed
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.denoisers.network import Network
from hwsearch.plan import CompressionPlan
from hwsearch.tasks.gsm_mini.generator import problems
from tests import smollm2
from tests.llama_cpp_passes import (
    LlamaPass,
    divergence,
    has_blas,
    llama_pass,
    not_rounded,
    rounded_by_llama,
)

TABLE = Path(__file__).with_name("agreement.csv")
KEY = ["model", "plan", "products", "inputs", "attention", "repacked"]
PLANS = {
    "fp32": {},
    "w8": {"attention": "w8", "mlp": "w8", "head": "w8"},
    "w4": {"attention": "w4", "mlp": "w4", "head": "w4"},
    "mixed": {"attention": "w8", "mlp": "w4", "head": "w8"},
}
ROUNDINGS = {"the plan's": None, "llama.cpp's": rounded_by_llama, "none": not_rounded}
#: Rounding of inputs, exact attention, weights stored anew.
ON_CPU = [
    ("the plan's", False, True),
    ("llama.cpp's", False, True),
    ("llama.cpp's", True, True),
    ("llama.cpp's", True, False),
    ("none", True, False),
]
ON_BLAS = [("none", True, False), ("none", False, False)]
TEXTS, TOKENS = 6, 64


def texts(denoiser: Denoiser) -> Iterator[list[int]]:
    """Problems and answers, one after another, cut after `TOKENS`; masks behind gsm-mini's questions."""
    stream = problems("test")
    for _ in range(TEXTS):
        if denoiser.geometry.vocab_size < 10_000:
            tokens = [*denoiser.prompt(next(stream).question)]
            yield [*tokens, *[denoiser.mask_token_id] * (TOKENS - len(tokens))][:TOKENS]
        else:
            said = " ".join(f"{p.question} {p.answer}" for p in islice(stream, 6))
            yield denoiser.tokenizer.encode(said).ids[:TOKENS]


def loaded(name: str) -> Denoiser:
    """A model, read bidirectionally."""
    if name == "smollm2":
        return load_denoiser(smollm2.FILE, mask_token_id=smollm2.MASK_TOKEN_ID)
    return load_denoiser(name)


@torch.inference_mode()
def simulated(network: Network, batch: list[list[int]]) -> tuple[list[Tensor], float]:
    """Logits of each text, and the floor: the mean of the largest of four."""
    found, floors = [], []
    for tokens in batch:
        ours = network(torch.tensor([tokens]))[0]
        noisy = [perturbed(network, seed)(torch.tensor([tokens]))[0] for seed in range(4)]
        found.append(ours)
        floors.append(max(divergence(ours, one) for one in noisy))
    return found, sum(floors) / len(floors)


def compared(ours: list[Tensor], passes: list[LlamaPass]) -> dict[str, object]:
    """Columns of a comparison, all texts together."""
    pairs = [(one, each.logits) for one, each in zip(ours, passes, strict=True)]
    kl = [divergence(*pair) for pair in pairs]
    same = [float((a.argmax(-1) == b.argmax(-1)).float().mean()) for a, b in pairs]
    return {
        "by_blas": passes[0].on_blas,
        "by_cpu": passes[0].on_cpu,
        "kl": f"{sum(kl) / len(kl):.3g}",
        "worst": f"{max(kl):.3g}",
        "argmax_agrees": f"{sum(same) / len(same):.4f}",
    }


def rows(denoiser: Denoiser, plan: CompressionPlan) -> Iterator[dict[str, object]]:
    """Every comparison of a plan that the libraries at hand allow."""
    batch, compressed = [*texts(denoiser)], compress(denoiser, plan)
    ours = {}
    with tempfile.TemporaryDirectory() as folder:
        path = export_gguf(compressed, Path(folder) / "out")
        for inputs, exact, repack in ON_BLAS if has_blas() else ON_CPU:
            if inputs not in ours:
                ours[inputs] = simulated(gguf_network(compressed, ROUNDINGS[inputs]), batch)
            logits, floor = ours[inputs]
            passes = [llama_pass(path, each, False, exact=exact, repack=repack) for each in batch]
            yield {
                "products": "OpenBLAS" if has_blas() else "own kernels",
                "inputs": inputs,
                "attention": "exact" if exact else "default",
                "repacked": "yes" if repack else "no",
                **compared(logits, passes),
                "floor": f"{floor:.3g}",
            }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", choices=["gsm-mini", "smollm2"])
    parser.add_argument("--plans", nargs="+", choices=PLANS, default=[*PLANS])
    given = parser.parse_args()
    for name in given.models:
        denoiser = loaded(name)
        for plan_name in given.plans:
            plan = CompressionPlan.uniform(denoiser.num_layers, **PLANS[plan_name])
            for found in rows(denoiser, plan):
                row = {"model": name, "plan": plan_name} | found
                put(TABLE, row, KEY, lambda one: [str(one[name]) for name in KEY])
                print(row, flush=True)


if __name__ == "__main__":
    main()
