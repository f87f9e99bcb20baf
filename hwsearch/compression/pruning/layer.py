"""One layer of a network, pruned: smaller matrices for heads and channels, zeros for weights."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hwsearch.compression.pruning.calibration import Activations, WeightCalibration
from hwsearch.compression.pruning.masks import kept_mask
from hwsearch.compression.pruning.sparsegpt import inverse_root, refit, sparsegpt
from hwsearch.compression.swap import swapped
from hwsearch.denoisers.network import Network
from hwsearch.denoisers.transformer import Layer, Transformer
from hwsearch.errors import PlanError
from hwsearch.plan import LayerPlan, WeightPruning


@dataclass(frozen=True)
class _Inputs:
    """A linear with what calibration saw of its inputs."""

    path: str
    weight: Tensor
    bias: Tensor | None
    norm: Tensor | None
    hessian: Tensor | None
    kept: Tensor | None = None  # which inputs are left; None for all of them

    def rows(self, kept: Tensor) -> _Inputs:
        """Some outputs only."""
        bias = None if self.bias is None else self.bias[kept]
        return replace(self, weight=self.weight[kept], bias=bias)

    def columns(self, kept: Tensor, weight: Tensor) -> _Inputs:
        """Some inputs only, with these weights."""
        norm = None if self.norm is None else self.norm[kept]
        hessian = None if self.hessian is None else self.hessian[kept][:, kept]
        return replace(self, weight=weight, norm=norm, hessian=hessian, kept=kept)

    def linear(self) -> nn.Linear:
        """As a module."""
        out_features, in_features = self.weight.shape
        linear = nn.Linear(in_features, out_features, bias=self.bias is not None, device="meta")
        linear.weight = nn.Parameter(self.weight, requires_grad=False)
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias, requires_grad=False)
        return linear.eval()


@torch.no_grad()
def prune_layer(
    network: Network,
    index: int,
    plan: LayerPlan,
    pruning: WeightPruning,
    calibration: WeightCalibration,
) -> dict[str, nn.Module]:
    """Replacements of one layer's modules, by path in the network; the network stays as it is.

    Heads and channels go first, then single weights of what is left.

    Args:
        network: the uncompressed network.
        index: which layer.
        plan: what it keeps.
        pruning: how to choose.
        calibration: what its linears see.

    Raises:
        PlanError: it shall keep more heads or channels than there are, or heads or channels of a
            network that is not in Llama form; or the pattern does not divide the inputs.
    """
    linears = _smaller(network, index, plan, pruning, calibration)
    if plan.sparsity is not None:
        linears = {
            path: _sparse(linear, plan.sparsity, pruning, calibration.seed)
            for path, linear in linears.items()
        }
    modules: dict[str, nn.Module] = {path: linear.linear() for path, linear in linears.items()}
    return _resized(network, index, plan, modules) if plan.kept_heads is not None else modules


@torch.no_grad()
def blind_linears(
    network: Network,
    index: int,
    plan: LayerPlan,
    pruning: WeightPruning,
    calibration: WeightCalibration,
) -> dict[str, nn.Linear]:
    """The linears of a layer that lose inputs when heads or channels go, by path.

    They are as large as before, with zeros for what is gone: given what the uncompressed layer hands
    them, they put out what the smaller layer would.

    Args and Raises: as of `prune_layer`; sparsity is left out.
    """
    found = {}
    for path, linear in _smaller(network, index, plan, pruning, calibration).items():
        if linear.kept is not None:
            whole = network.get_submodule(path)
            assert isinstance(whole, nn.Linear)
            weight = torch.zeros_like(whole.weight).index_copy(1, linear.kept, linear.weight)
            found[path] = replace(linear, weight=weight).linear()
    return found


def _smaller(
    network: Network,
    index: int,
    plan: LayerPlan,
    pruning: WeightPruning,
    calibration: WeightCalibration,
) -> dict[str, _Inputs]:
    """A layer's linears with the best heads and channels only, by path."""
    groups = network.linear_groups().layers[index]
    found = Activations({}, {})
    if pruning.method in ("wanda", "sparsegpt"):
        found = calibration.activations(pruning.sinks, pruning.method == "sparsegpt")
    linears = {path: _inputs(network, path, found) for paths in groups.values() for path in paths}
    prefix = f"model.layers.{index}."
    if (plan.kept_heads, plan.kept_channels) != (None, None):
        layer = _layer(network, index)
        linears |= _fewer_heads(linears, f"{prefix}self_attn.", layer, plan, pruning, calibration)
        linears |= _fewer_channels(linears, f"{prefix}mlp.", plan, pruning, calibration)
    return linears


def _inputs(network: Network, path: str, found: Activations) -> _Inputs:
    linear = network.get_submodule(path)
    assert isinstance(linear, nn.Linear)
    norm, hessian = found.norms.get(path), found.hessians.get(path)
    return _Inputs(path, linear.weight, linear.bias, norm, hessian)


def _layer(network: Network, index: int) -> Layer:
    if not isinstance(network, Transformer):
        raise PlanError(
            f"layer {index}: kept_heads and kept_channels need a network in Llama form; prune single "
            "weights by sparsity instead"
        )
    layer = network.model.layers[index]
    assert isinstance(layer, Layer)
    return layer


def _fewer_heads(
    linears: Mapping[str, _Inputs],
    prefix: str,
    layer: Layer,
    plan: LayerPlan,
    pruning: WeightPruning,
    calibration: WeightCalibration,
) -> dict[str, _Inputs]:
    """The four projections with the best key / value heads only, each with its query heads."""
    g = layer.self_attn.geometry
    if plan.kept_heads is None:
        return {}
    width = g.query_size // g.num_kv_heads
    out = linears[f"{prefix}o_proj"]
    score = importance(out, pruning, calibration.seed).unflatten(0, (-1, width)).sum(dim=1)
    heads = _best(score, plan.kept_heads, f"{prefix}heads")
    queries, keys = _spans(heads, width), _spans(heads, g.head_dim)
    fewer = {f"{prefix}q_proj": linears[f"{prefix}q_proj"].rows(queries)}
    for name in ("k_proj", "v_proj"):
        fewer[f"{prefix}{name}"] = linears[f"{prefix}{name}"].rows(keys)
    return fewer | {f"{prefix}o_proj": _fewer_inputs(out, queries)}


def _fewer_channels(
    linears: Mapping[str, _Inputs],
    prefix: str,
    plan: LayerPlan,
    pruning: WeightPruning,
    calibration: WeightCalibration,
) -> dict[str, _Inputs]:
    """Gate, up and down with the best inner channels only."""
    if plan.kept_channels is None:
        return {}
    down = linears[f"{prefix}down_proj"]
    score = importance(down, pruning, calibration.seed)
    kept = _best(score, plan.kept_channels, f"{prefix}channels")
    fewer = {
        f"{prefix}{name}": linears[f"{prefix}{name}"].rows(kept)
        for name in ("gate_proj", "up_proj")
    }
    return fewer | {f"{prefix}down_proj": _fewer_inputs(down, kept)}


def importance(linear: _Inputs, pruning: WeightPruning, seed: int) -> Tensor:
    """Importance of each input of a linear, ``[in]``; sums over inputs make that of a head.

    Squares of the scores of single weights, summed over outputs.
    """
    return _scores(linear, pruning, seed).square().sum(dim=0)


def _scores(linear: _Inputs, pruning: WeightPruning, seed: int) -> Tensor:
    """Importance of single weights ``[out, in]``."""
    weight = linear.weight.double()
    if pruning.method == "random":
        generator = torch.Generator().manual_seed(seed + zlib.crc32(linear.path.encode()))
        return torch.rand(weight.shape, generator=generator, dtype=torch.float64).to(weight.device)
    if pruning.method == "magnitude":
        return weight.abs()
    if linear.hessian is None:
        assert linear.norm is not None, "Wanda was calibrated"
        return weight.abs() * linear.norm
    return weight.abs() / inverse_root(linear.hessian).square().sum(dim=0).sqrt()


def _sparse(linear: _Inputs, sparsity: float | str, pruning: WeightPruning, seed: int) -> _Inputs:
    if linear.hessian is not None:
        weight = sparsegpt(linear.weight, linear.hessian, sparsity).to(linear.weight.dtype)
        return replace(linear, weight=weight)
    kept = kept_mask(_scores(linear, pruning, seed), sparsity)
    return replace(linear, weight=linear.weight * kept)


def _fewer_inputs(linear: _Inputs, kept: Tensor) -> _Inputs:
    """Some inputs only; SparseGPT lets those that stay make up for the others."""
    weight = linear.weight[:, kept]
    if linear.hessian is not None:
        weight = refit(linear.weight, linear.hessian, kept).to(linear.weight.dtype)
    return linear.columns(kept, weight)


def _best(score: Tensor, count: int, what: str) -> Tensor:
    """Indices of the `count` highest scores, ascending."""
    if count > len(score):
        raise PlanError(f"{what}: {count} are to stay, but there are {len(score)}; keep fewer")
    return score.argsort(descending=True, stable=True)[:count].sort().values


def _spans(heads: Tensor, width: int) -> Tensor:
    """Indices of all features of some heads."""
    return (heads[:, None] * width + torch.arange(width, device=heads.device)).flatten()


def _resized(
    network: Network, index: int, plan: LayerPlan, modules: dict[str, nn.Module]
) -> dict[str, nn.Module]:
    """The layer's attention as one replacement, which knows how many heads it has."""
    attention = _layer(network, index).self_attn
    path = f"model.layers.{index}.self_attn"
    inner = {p.removeprefix(f"{path}."): m for p, m in modules.items() if p.startswith(path)}
    smaller = swapped(attention, inner)
    g = attention.geometry
    assert plan.kept_heads is not None
    groups = g.num_heads // g.num_kv_heads
    smaller.geometry = replace(g, num_heads=plan.kept_heads * groups, num_kv_heads=plan.kept_heads)
    rest = {p: m for p, m in modules.items() if not p.startswith(path)}
    return {path: smaller, **rest}
