"""A model's weights, rounded by what its linears see of calibration."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property

from torch import Tensor, nn

from hwsearch.compression.rounding.choice import round_group
from hwsearch.compression.rounding.linear_inputs import calibration_samples, stream
from hwsearch.compression.rounding.store import RoundedStore
from hwsearch.denoisers.caching.digest import DIGITS, weights_digest
from hwsearch.denoisers.caching.folder import cache_folder
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import InputError
from hwsearch.formats.catalog import format_of
from hwsearch.formats.integer_format import IntegerFormat, RoundedWeight
from hwsearch.plan import WeightFormat
from hwsearch.progress import work

#: Raised when the same calibration comes to mean other codes.
METHOD = 3

#: Rows of all samples together.
MOST_ROWS = 8192


class CalibratedWeights:
    """Linears of a denoiser rounded by the method of least error on calibration inputs.

    All see what the uncompressed model's linears see, so what a linear becomes depends on its format
    alone and on no other choice of a plan. Inputs are streamed: one layer's are held, beside the states
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
        self._known: dict[tuple[str, WeightFormat], RoundedWeight] = {}

    def weights(self, wanted: Mapping[str, WeightFormat]) -> dict[str, RoundedWeight]:
        """Rounded weights by path; in formats of whole numbers, so the others are left out.

        Raises:
            CheckpointError: weights or what linears see are no finite numbers.
        """
        integer = {p: fmt for p, fmt in wanted.items() if isinstance(format_of(fmt), IntegerFormat)}
        missing = {path: fmt for path, fmt in integer.items() if not self._find(path, fmt)}
        if missing:
            self._make(missing)
        return {path: self._known[path, fmt] for path, fmt in integer.items()}

    def _find(self, path: str, fmt: WeightFormat) -> bool:
        if (path, fmt) not in self._known and self._store is not None:
            found = self._store.find(path, self._weight(path), fmt)
            if found is not None:
                self._known[path, fmt] = found
        return (path, fmt) in self._known

    def _make(self, missing: Mapping[str, WeightFormat]) -> None:
        with work("rounding by calibration", len(missing)) as advance:
            for paths, seen in stream(self._network, self._samples, set(missing)):
                for fmt in dict.fromkeys(missing[path] for path in paths if path in missing):
                    # all of a group, as they have one scale of their inputs
                    linears = {path: self._weight(path) for path in paths}
                    for path, rounded in round_group(linears, _integer(fmt), seen):
                        self._keep(path, rounded, fmt)
                advance(len(missing.keys() & set(paths)))

    def _keep(self, path: str, rounded: RoundedWeight, fmt: WeightFormat) -> None:
        # a copy, since what inference mode made can never take part in a backward pass
        scale = None if rounded.scale is None else rounded.scale.clone()
        made = RoundedWeight(rounded.codes, scale, self.origin)
        self._known[path, fmt] = made
        if self._store is not None:
            self._store.keep(path, made, fmt)
            self._known[path, fmt] = self._store.find(path, self._weight(path), fmt) or made

    def _weight(self, path: str) -> Tensor:
        linear = self._network.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        return linear.weight.detach()

    @cached_property
    def origin(self) -> str:
        """Digest of the calibration."""
        digest = hashlib.sha256(str(METHOD).encode())
        for tokens in self._samples:
            digest.update(repr(tokens.tolist()).encode())
        return digest.hexdigest()[:DIGITS]

    @cached_property
    def _store(self) -> RoundedStore | None:
        if not isinstance(self._network, Transformer):
            return None  # nobody can tell whether its code is the same
        model = cache_folder() / "calibrated" / weights_digest(self._network)
        return RoundedStore(model / self.origin, self.origin)


def _integer(fmt: WeightFormat) -> IntegerFormat:
    form = format_of(fmt)
    assert isinstance(form, IntegerFormat)
    return form
