"""The benchmarked models: their sizes, how their files store weights, and the operators they ran.

Sizes are those of the models' published configurations. LFM2 is a hybrid of convolutions and
attention; a transformer of the same widths has the same matrices within 2 %.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hwsearch.denoisers.geometry import Geometry
from hwsearch.latency.operators import OpKey, layer_operators
from hwsearch.plan import LayerPlan

#: Body and head of a model, as the operator keys of this study name them.
BODY, HEAD = "fp32", "head"

GEOMETRIES = {
    "LLaMA-2-7B": Geometry(32000, 4096, 32, 32, 32, 128, 11008),
    "Llama-2-13B": Geometry(32000, 5120, 40, 40, 40, 128, 13824),
    # one model; the sources spell its versions so
    **dict.fromkeys(
        ("LLaMA-3-8B", "Llama-3-8B", "LLaMA-3.1-8B", "Llama-3.1-8B"),
        Geometry(128256, 4096, 32, 32, 8, 128, 14336),
    ),
    "Llama-3.2-1B": Geometry(128256, 2048, 16, 32, 8, 64, 8192),
    "Llama-3.2-3B": Geometry(128256, 3072, 28, 24, 8, 128, 8192),
    "TinyLlama-1.1B": Geometry(32000, 2048, 22, 32, 4, 64, 5632),
    "Qwen3-0.6B": Geometry(151936, 1024, 28, 16, 8, 128, 3072),
    "SmolLM2-360M": Geometry(49152, 960, 32, 15, 5, 64, 2560),
    "LFM2-350M": Geometry(65536, 1024, 16, 16, 16, 64, 4608),
    "LFM2-700M": Geometry(65536, 1536, 16, 24, 24, 64, 6912),
    "Qwen2 14B (R1-distill)": Geometry(152064, 5120, 48, 40, 8, 128, 13824),
    "Qwen2 32B (R1-distill)": Geometry(152064, 5120, 64, 40, 8, 128, 27648),
}


@dataclass(frozen=True)
class Encoding:
    """Bytes of a weight: in the layers, and in the head, which llama.cpp keeps finer."""

    body: float
    head: float

    @property
    def bytes_per_weight(self) -> dict[str, float]:
        return {BODY: self.body, HEAD: self.head}


Q6_K = 210 / 256
ENCODINGS = {
    "F16": Encoding(2.0, 2.0),
    "BF16": Encoding(2.0, 2.0),
    "Q8_0": Encoding(34 / 32, 34 / 32),
    "Q6_K": Encoding(Q6_K, Q6_K),
    "Q5_K": Encoding(176 / 256, Q6_K),
    # half of the value and down projections are Q6_K: 0.60 is what a LLaMA-3-8B file comes to
    "Q4_K_M": Encoding(0.60, Q6_K),
    "Q4_0": Encoding(18 / 32, Q6_K),
    "W4A8 g32 (SpinQuant)": Encoding(18 / 32, 1.0),
    "W4A8 g128": Encoding(0.5 + 2 / 128, 1.0),
}


def token_operators(model: str, context: int, head: bool = True) -> Counter[OpKey]:
    """Operators of one generated token after `context` others."""
    g = GEOMETRIES[model]
    return _repeat(g, 1, context, g.num_layers) + _ends(g, 1, int(head))


def prompt_operators(
    model: str, prompt: int, ubatch: int = 512, head_rows: int = 1
) -> Counter[OpKey]:
    """Operators of a prompt processed in passes of `ubatch` rows.

    Args:
        model: a name of `GEOMETRIES`.
        prompt: tokens.
        ubatch: rows of a pass.
        head_rows: rows of a pass whose logits are computed. With one, the mlp of the last layer runs on
            one row, too, as llama.cpp does since March 2024.
    """
    g = GEOMETRIES[model]
    total: Counter[OpKey] = Counter()
    for start in range(0, prompt, ubatch):
        rows = min(ubatch, prompt - start)
        predicted = min(head_rows, rows)
        total += _repeat(g, rows, start + rows, g.num_layers - 1)
        for key, count in _repeat(g, rows, start + rows, 1).items():
            in_mlp = g.intermediate_size in (key.in_features, key.out_features // 2)
            fewer = OpKey(key.kind, predicted, key.in_features, key.out_features)
            total[fewer if in_mlp else key] += count
        total += _ends(g, rows, predicted)
    return total


def _repeat(g: Geometry, rows: int, keys: int, layers: int) -> Counter[OpKey]:
    one = layer_operators(g, LayerPlan(), rows, keys)
    return Counter({key: count * layers for key, count in one.items()})


def _ends(g: Geometry, rows: int, predicted: int) -> Counter[OpKey]:
    ends = Counter([OpKey("norm", rows, g.hidden_size)])
    if predicted:
        ends[OpKey("linear", predicted, g.hidden_size, g.vocab_size, format=HEAD)] += 1
    return ends
