"""A model's weights, rounded by what its linears see of calibration."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn

from hwsearch.compression.rounding.choice import round_group
from hwsearch.compression.rounding.effort import MOST_ROWS
from hwsearch.compression.rounding.linear_inputs import calibration_samples, layer_path, stream
from hwsearch.compression.rounding.store import RoundedStore
from hwsearch.denoisers.caching.digest import DIGITS, weights_digest
from hwsearch.denoisers.caching.folder import cache_folder
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import Network
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import InputError
from hwsearch.formats.catalog import format_of
from hwsearch.formats.integer_format import IntegerFormat, RoundedWeight
from hwsearch.plan import WeightFormat
from hwsearch.progress import work

#: Raised when the same calibration comes to mean other codes.
METHOD = 3


class CalibratedWeights:
    """Linears of a denoiser rounded by the method of least error on calibration inputs.

    All see what the uncompressed model's linears see, so what a linear becomes depends on its format
    alone and on no other choice of a plan. Where heads or channels of its layer were removed, it depends on
    these as well, and on no other layer. Inputs are streamed: one layer's are held, beside the states
    between layers. What was made is on disk, but for a model of the user's own code.

    Args:
        denoiser: the uncompressed model.
        passes: calibration states, as `hwsearch.compression.pruning.noisy_passes` makes them.
        most_rows: positions that are looked at, at most.

    Raises:
        InputError: there are no states.
    """

    def __init__(
        self, denoiser: Denoiser, passes: Sequence[Sequence[Tensor]], most_rows: int = MOST_ROWS
    ) -> None:
        self._network = denoiser.network
        self._samples = calibration_samples(passes, most_rows)
        if not self._samples:
            raise InputError("rounding 'calibrated' needs at least one calibration question")
        self._known: dict[tuple[nn.Linear, WeightFormat], RoundedWeight] = {}
        self._digests: dict[nn.Linear, str] = {}

    def weights(
        self, wanted: Mapping[str, WeightFormat], pruned: Network | None = None
    ) -> dict[str, RoundedWeight]:
        """Rounded weights by path; in formats of whole numbers, so the others are left out.

        Args:
            wanted: formats by path.
            pruned: whose linears are rounded, where heads or channels of some layers were removed: it shares
                all other layers with the denoiser's network.

        Raises:
            CheckpointError: weights or what linears see are no finite numbers.
        """
        network = pruned or self._network
        integer = {p: fmt for p, fmt in wanted.items() if isinstance(format_of(fmt), IntegerFormat)}
        missing = {p: fmt for p, fmt in integer.items() if not self._find(network, p, fmt)}
        if missing:
            self._make(missing, network)
        return {path: self._known[_linear(network, path), fmt] for path, fmt in integer.items()}

    def _find(self, network: Network, path: str, fmt: WeightFormat) -> bool:
        linear = _linear(network, path)
        if (linear, fmt) in self._known:
            return True
        store = self._store(network, path)
        found = None if store is None else store.find(path, linear.weight.detach(), fmt)
        if found is not None:
            self._known[linear, fmt] = found
        return found is not None

    def _make(self, missing: Mapping[str, WeightFormat], network: Network) -> None:
        with work("rounding by calibration", len(missing)) as advance:
            for paths, seen in stream(self._network, self._samples, set(missing), network):
                for fmt in dict.fromkeys(missing[path] for path in paths if path in missing):
                    # all of a group, as they have one scale of their inputs
                    linears = {path: _linear(network, path).weight.detach() for path in paths}
                    for path, rounded in round_group(linears, _integer(fmt), seen):
                        self._keep(network, path, rounded, fmt)
                advance(len(missing.keys() & set(paths)))

    def _keep(self, network: Network, path: str, rounded: RoundedWeight, fmt: WeightFormat) -> None:
        # a copy, since what inference mode made can never take part in a backward pass
        scale = None if rounded.scale is None else rounded.scale.clone()
        linear = _linear(network, path)
        self._known[linear, fmt] = made = RoundedWeight(rounded.codes, scale, self.origin)
        store = self._store(network, path)
        if store is not None:
            store.keep(path, made, fmt)
            self._known[linear, fmt] = store.find(path, linear.weight.detach(), fmt) or made

    @cached_property
    def origin(self) -> str:
        """Digest of the calibration."""
        digest = hashlib.sha256(str(METHOD).encode())
        for tokens in self._samples:
            digest.update(repr(tokens.tolist()).encode())
        return digest.hexdigest()[:DIGITS]

    def _store(self, network: Network, path: str) -> RoundedStore | None:
        if self._folder is None:
            return None
        if _linear(network, path) is _linear(self._network, path):
            return RoundedStore(self._folder, self.origin)
        layer = network.get_submodule(layer_path(path))
        return RoundedStore(self._folder / self._digest(layer), self.origin)

    def _digest(self, layer: nn.Module) -> str:
        """Digest of a pruned layer, which is swapped together anew for each plan; its linears are not."""
        linear = next(one for one in layer.modules() if isinstance(one, nn.Linear))
        if linear not in self._digests:
            self._digests[linear] = weights_digest(layer)
        return self._digests[linear]

    @cached_property
    def _folder(self) -> Path | None:
        if not isinstance(self._network, Transformer):
            return None  # nobody can tell whether its code is the same
        return cache_folder() / "calibrated" / weights_digest(self._network) / self.origin


def _linear(network: Network, path: str) -> nn.Linear:
    linear = network.get_submodule(path)
    assert isinstance(linear, nn.Linear)
    return linear


def _integer(fmt: WeightFormat) -> IntegerFormat:
    form = format_of(fmt)
    assert isinstance(form, IntegerFormat)
    return form
