"""What makes the weights of a transformer's graphs, by the names that the graphs give them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from hwsearch.bundle.weights import FloatMatrix, FloatRows, Weight
from hwsearch.denoisers.transformer import Layer, Transformer


def weights_of(network: Transformer) -> dict[str, Weight]:
    """Every parameter of the graphs of a network; none is read before it is written."""
    found = {
        "embed.weight": _rows(network.model.embed_tokens.weight),
        "norm.weight": _rows(network.model.norm.weight),
        "head.weight": _matrix([network.lm_head]),
    }
    for index, layer in enumerate(network.model.layers):
        assert isinstance(layer, Layer), "a transformer is made of these"
        found |= {f"layers.{index}.{name}": weight for name, weight in _layer(layer)}
    return found


def _layer(layer: Layer) -> Iterator[tuple[str, Weight]]:
    attention, mlp = layer.self_attn, layer.mlp
    norms: dict[str, nn.Module] = {
        "input_norm": layer.input_layernorm,
        "mlp_norm": layer.post_attention_layernorm,
    }
    norms |= {"q_norm": attention.q_norm, "k_norm": attention.k_norm}
    for name, norm in norms.items():
        if not isinstance(norm, nn.Identity):
            yield f"{name}.weight", _rows(norm.get_parameter("weight"))
    products: dict[str, Sequence[nn.Module]] = {
        "qkv": (attention.q_proj, attention.k_proj, attention.v_proj),
        "out": (attention.o_proj,),
        "gate_up": (mlp.gate_proj, mlp.up_proj),
        "down": (mlp.down_proj,),
    }
    for name, linears in products.items():
        yield f"{name}.weight", _matrix(linears)
        biases = [linear.bias for linear in linears if isinstance(linear.bias, Tensor)]
        if biases:
            yield f"{name}.bias", _rows(*biases)


def _rows(*tensors: Tensor) -> Weight:
    return Weight(FloatRows(tensors), "")


def _matrix(linears: Sequence[nn.Module]) -> Weight:
    return Weight(FloatMatrix([linear.get_parameter("weight") for linear in linears]), "")
