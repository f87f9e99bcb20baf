"""Quantise and prune every layer once, then build any plan's network by swapping modules in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from torch import nn

from hwsearch.compression.code_store import CodeStore
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.compression.pruning import WeightCalibration, prune_layer
from hwsearch.compression.rounding import CalibratedWeights
from hwsearch.compression.swap import swapped
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import LinearGroups, Network
from hwsearch.errors import PlanError
from hwsearch.formats.catalog import format_of, simulate
from hwsearch.formats.linears.simulated_linear import calibrated
from hwsearch.formats.linears.stored_linear import CodedLinear, StoredLinear
from hwsearch.plan import CompressionPlan, LayerPlan, WeightFormat, WeightPruning


class WeightBank:
    """Every linear of a denoiser in every format and pruned form asked for so far.

    Each (linear, format) is quantised, and each (layer, pruning) pruned, the first time a plan needs
    it; after that a plan costs a few dictionary look-ups, and all networks built share the modules. Those
    of a model whose weights stay in their files are codes on disk; see `CodeStore`.

    Args:
        denoiser: the uncompressed model.
        calibration: what its linears see, for plans that prune weights or round them by calibration.
    """

    def __init__(self, denoiser: Denoiser, calibration: WeightCalibration | None = None) -> None:
        self.denoiser = denoiser
        self.calibration = calibration
        self._simulated: dict[tuple[str, WeightFormat, nn.Module], nn.Module] = {}
        self._pruned: dict[tuple[int, LayerPlan, WeightPruning], dict[str, nn.Module]] = {}
        self._calibrated: dict[tuple[nn.Linear, WeightFormat], nn.Module] = {}

    def float_network(self, plan: CompressionPlan) -> Network:
        """The network with the plan's weights pruned and none rounded; its own where none is pruned.

        Raises:
            PlanError: the plan prunes weights and the bank has no calibration, or it does not fit.
        """
        network: Network = self.denoiser.network
        replaced: dict[str, nn.Module] = {}
        for index, layer in enumerate(plan.layers):
            if layer.prunes:
                replaced |= self._prune(index, layer, plan.pruning)
        return swapped(network, replaced)

    def modules(self, plan: CompressionPlan, network: Network) -> dict[str, nn.Module]:
        """The plan's replacement modules by path in a network; ``fp32`` replaces nothing.

        Raises:
            PlanError: the plan rounds by calibration, and the bank has none.
        """
        formats = linear_formats(plan, network.linear_groups())
        wanted = {path: fmt for path, fmt in formats.items() if fmt is not WeightFormat.FP32}
        found = self._round_calibrated(plan, network, wanted)
        rest = {path: fmt for path, fmt in wanted.items() if path not in found}
        return found | {path: self._round(network, path, fmt) for path, fmt in rest.items()}

    def _round_calibrated(
        self, plan: CompressionPlan, network: Network, wanted: Mapping[str, WeightFormat]
    ) -> dict[str, nn.Module]:
        """Those modules that are rounded by calibration: none of a layer of which weights were zeroed.

        There the errors of other weights would move into the zeros.
        """
        if plan.rounding != "calibrated":
            return {}
        if self.calibration is None:
            raise PlanError(
                "rounding 'calibrated' needs calibration; make the bank with "
                "WeightBank(denoiser, WeightCalibration(denoiser, noisy_passes(...)))"
            )
        sparse = {
            path
            for layer, named in zip(plan.layers, network.linear_groups().layers, strict=True)
            if layer.sparsity is not None
            for paths in named.values()
            for path in paths
        }
        linears = {p: _linear(network, p) for p in wanted if p not in sparse}
        missing = {p: wanted[p] for p in linears if (linears[p], wanted[p]) not in self._calibrated}
        for path, weight in self._weights.weights(missing, network).items():
            linear, form = linears[path], format_of(wanted[path])
            make = CodedLinear.calibrated if isinstance(linear, StoredLinear) else calibrated
            self._calibrated[linear, wanted[path]] = make(linear, form, weight)
        known = {p: self._calibrated.get((linear, wanted[p])) for p, linear in linears.items()}
        return {path: module for path, module in known.items() if module is not None}

    @property
    def calibration_origin(self) -> str:
        """Digest of what linears are rounded by, for a bank that has a calibration."""
        return self._weights.origin

    @cached_property
    def _weights(self) -> CalibratedWeights:
        assert self.calibration is not None
        return CalibratedWeights(self.denoiser, self.calibration.batches)

    def _prune(self, index: int, layer: LayerPlan, pruning: WeightPruning) -> dict[str, nn.Module]:
        if self.calibration is None:
            raise PlanError(
                f"layer {index}: pruning weights needs calibration; make the bank with "
                "WeightBank(denoiser, WeightCalibration(denoiser, noisy_passes(...)))"
            )
        # formats and thresholds change nothing about what is pruned
        bare = LayerPlan(**{name: getattr(layer, name) for name in LayerPlan.PRUNING})
        key = (index, bare, pruning)
        if key not in self._pruned:
            network = self.denoiser.network
            self._pruned[key] = prune_layer(network, index, bare, pruning, self.calibration)
        return self._pruned[key]

    def _round(self, network: Network, path: str, fmt: WeightFormat) -> nn.Module:
        linear = _linear(network, path)
        key = (path, fmt, linear)
        if key not in self._simulated:
            self._simulated[key] = (
                self._store.linear(path, linear, fmt)
                if isinstance(linear, StoredLinear)
                else simulate(linear, fmt)
            )
        return self._simulated[key]

    @cached_property
    def _store(self) -> CodeStore:
        return CodeStore.of(self.denoiser)


def _linear(network: Network, path: str) -> nn.Linear:
    linear = network.get_submodule(path)
    assert isinstance(linear, nn.Linear)
    return linear


def linear_formats(plan: CompressionPlan, groups: LinearGroups) -> dict[str, WeightFormat]:
    """The format of every linear of a network that has these groups, by its path.

    Raises:
        PlanError: formats differ within a group that the network names as one.
    """
    formats = {
        path: layer.format_of(group)
        for layer, named in zip(plan.layers, groups.layers, strict=True)
        for group, paths in named.items()
        for path in paths
    }
    return formats if groups.head is None else formats | {groups.head: plan.head}


def compress(
    denoiser: Denoiser, plan: CompressionPlan, bank: WeightBank | None = None
) -> CompressedDenoiser:
    """The denoiser as the plan makes it compute.

    Args:
        denoiser: the model; never changed, and all that stays unquantised is shared with it.
        plan: what to do to each layer.
        bank: modules quantised for earlier plans of this same denoiser; None starts a new one.

    Raises:
        PlanError: the plan does not fit the model, or prunes weights and `bank` has no calibration.
    """
    check_fits(plan, denoiser)
    bank = bank or WeightBank(denoiser)
    assert bank.denoiser is denoiser, "a bank belongs to one denoiser"
    pruned = bank.float_network(plan)
    network = swapped(pruned, bank.modules(plan, pruned))
    return CompressedDenoiser(denoiser, plan, network, pruned)


def check_fits(plan: CompressionPlan, denoiser: Denoiser) -> None:
    """Raise `PlanError` unless the plan has as many layers as the model."""
    planned, real = len(plan.layers), denoiser.num_layers
    if planned != real:
        raise PlanError(
            f"the plan has {planned} layers but model {denoiser.name!r} has {real}; "
            f"give a plan of {real} layers"
        )
