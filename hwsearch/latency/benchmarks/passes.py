"""The operators of benchmarked passes, and how llama.cpp's files store weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from hwsearch.denoisers.accounting import parameters
from hwsearch.denoisers.geometry import Geometry
from hwsearch.latency.operators import OpKey, layer_operators
from hwsearch.plan import LayerPlan

#: Body and head of a model, as the keys of these operators name their formats.
BODY: Final = "fp32"
HEAD: Final = "head"

_Q6_K = 210 / 256


@dataclass(frozen=True)
class Encoding:
    """Bytes of a weight: in the layers, and in the head, which llama.cpp keeps finer."""

    body: float
    head: float

    @property
    def bytes_per_weight(self) -> dict[str, float]:
        """By the formats that operators name."""
        return {BODY: self.body, HEAD: self.head}


#: Encodings by llama.cpp's names.
ENCODINGS: Final = {
    "F32": Encoding(4.0, 4.0),
    "F16": Encoding(2.0, 2.0),
    "BF16": Encoding(2.0, 2.0),
    "Q8_0": Encoding(34 / 32, 34 / 32),
    "Q6_K": Encoding(_Q6_K, _Q6_K),
    "Q5_K": Encoding(176 / 256, _Q6_K),
    # half of the value and down projections are Q6_K: 0.60 is what a LLaMA-3-8B file comes to
    "Q4_K_M": Encoding(0.60, _Q6_K),
    "Q5_1": Encoding(24 / 32, _Q6_K),
    "Q5_0": Encoding(22 / 32, _Q6_K),
    "Q4_1": Encoding(20 / 32, _Q6_K),
    "Q4_0": Encoding(18 / 32, _Q6_K),
    "IQ4_NL": Encoding(18 / 32, _Q6_K),
}

#: How far the bytes of a file may be from those of an embedding and a head, as a share.
_MOST_OFF: Final = 0.005


def file_encoding(kind: str, geometry: Geometry, nbytes: int, weights: int) -> Encoding:
    """The encoding of a file of a type, by its bytes: who writes files keeps other parts finer.

    llama.cpp's quantiser writes the head in more bits than the layers, `hwsearch export` as a plan says.

    Args:
        kind: llama.cpp's name of the type.
        geometry: the model's sizes.
        nbytes: of all tensors; the usual encoding where no file of this type has so many.
        weights: how many there are, by which a head that is the embedding is told.
    """
    usual, sizes = ENCODINGS[kind], parameters(geometry)
    layers = sizes.num_layers * (sizes.attention + sizes.mlp)
    is_tied = weights - layers - sizes.norms < 1.5 * sizes.embedding
    known = {one.body for one in ENCODINGS.values()}
    left = (nbytes - layers * usual.body - 4 * sizes.norms) / sizes.embedding
    pairs = [(embedding, head) for head in (usual.head, usual.body) for embedding in sorted(known)]
    ends = {sum(pair): pair[1] for pair in reversed(pairs)}
    if is_tied:
        ends = {one: one for one in known}
    found = min(ends, key=lambda one: abs(left - one))
    is_sure = abs(left - found) * sizes.embedding < _MOST_OFF * nbytes
    return Encoding(usual.body, ends[found]) if is_sure else usual


def token_operators(geometry: Geometry, context: int, head: bool = True) -> Counter[OpKey]:
    """Operators of one generated token after `context` others."""
    g = geometry
    return _repeat(g, 1, context, g.num_layers) + _ends(g, 1, int(head))


def prompt_operators(
    geometry: Geometry, prompt: int, ubatch: int = 512, head_rows: int = 1, depth: int = 0
) -> Counter[OpKey]:
    """Operators of a prompt processed in passes of `ubatch` rows.

    Args:
        geometry: the model's sizes.
        prompt: tokens.
        ubatch: rows of a pass.
        head_rows: rows of a pass whose logits are computed. With one, the mlp of the last layer runs on
            one row, too, as llama.cpp does since March 2024.
        depth: tokens before the prompt.
    """
    g = geometry
    total: Counter[OpKey] = Counter()
    for start in range(0, prompt, ubatch):
        rows = min(ubatch, prompt - start)
        predicted, keys = min(head_rows, rows), depth + start + rows
        total += _repeat(g, rows, keys, g.num_layers - 1)
        for key, count in _repeat(g, rows, keys, 1).items():
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
