"""Record the sinks of a model, or of an exported bundle, while it answers questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwsearch.decoding.backend import GREEDY, Backend, Prediction, Sampling, Tokens
from hwsearch.decoding.batches import batches_of_equal_length
from hwsearch.decoding.kept import KeptShares, Signal
from hwsearch.decoding.passes import Scope
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.backends import FullPassBackend, check_tells_mass
from hwsearch.denoisers.chat.asking import Asks, Question
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.errors import InputError
from hwsearch.runtime.engine import Runtime
from hwsearch.sinks.capture import Capture
from hwsearch.sinks.formulas import TOP_K
from hwsearch.sinks.recorder import SinkRecorder, SinkStatistics


def record_sinks(
    denoiser: Denoiser,
    questions: Sequence[Question],
    *,
    k: float = TOP_K,
    keep_passes: bool = False,
    batch: int = 8,
    progress: Callable[[int], None] | None = None,
) -> list[SinkStatistics]:
    """Statistics of how a model answers questions, a full pass at every step.

    Of an autoregressive model only what is written so far counts, as in its own decoding. A module of
    one's own tells its mass itself, summed over heads.

    Args:
        denoiser: the model.
        questions: questions; those whose prompts have one length are recorded together.
        k: sinks of a pass: a whole number, or a share of the positions below 1.
        keep_passes: keep masses by pass, for heat maps.
        batch: most questions recorded together.
        progress: called with the number of questions just recorded.

    Returns:
        One for each group of questions; together they have as many samples as there are questions.

    Raises:
        InputError: the model offers no attention, there are no questions, or `k` is out of range.
    """
    if not questions:
        raise InputError("recording sinks needs at least one question; none are given")
    decoding = denoiser.decoding.scheduled().model_copy(update={"refresh_interval": 1})
    prompts = [denoiser.given(question) for question in questions]
    found = []
    for group in batches_of_equal_length(prompts, batch):
        lengths = [group.prompts.shape[1]] * len(group.indices)
        recorder = SinkRecorder(k, keep_passes=keep_passes, prompts=lengths)
        generate(
            _recorded(denoiser, recorder),
            group.prompts,
            decoding,
            denoiser.mask_token_id,
            suffixes=group.suffixes,
        )
        found.append(recorder.statistics())
        if progress is not None:
            progress(len(group.indices))
    return found


def record_tokens(
    denoiser: Denoiser,
    passes: Sequence[Tensor],
    valid: Tensor | None = None,
    recorder: SinkRecorder | None = None,
) -> SinkStatistics:
    """Statistics of given passes, padded or not.

    Positions are those of the rows; where a row is padded on the left, its sequence begins at
    `SinkStatistics.first_position`.

    Args:
        denoiser: the model.
        passes: tokens ``[batch, length]`` of each pass, such as the steps of a trajectory.
        valid: ``[batch, length]``, False where a sequence is padded.
        recorder: takes it up; None starts one with the defaults.

    Raises:
        InputError: the model offers no attention, a sequence is nothing but padding, or a module of
            one's own, which knows of no padding, is given padded sequences.
    """
    recorder = recorder or SinkRecorder()
    run = _run(denoiser, recorder, valid)
    for tokens in passes:
        run(tokens)
        recorder.end_pass(tokens.cpu().numpy())
    return recorder.statistics()


def _run(
    denoiser: Denoiser, recorder: SinkRecorder, valid: Tensor | None
) -> Callable[[Tensor], object]:
    """What runs a pass and tells the recorder its masses."""
    if denoiser.is_cached:
        there = None if valid is None else valid.cpu().numpy()
        capture = Capture(
            denoiser.network, lambda layer, mass: recorder.add(layer, _numpy(mass), there)
        )
        return lambda tokens: capture.run(tokens, valid)
    check_tells_mass(denoiser)
    if valid is not None and not bool(valid.all()):
        raise InputError(
            f"model {denoiser.name!r} takes padding for text, so its sinks cannot be told from it; "
            "record sequences of one length together and leave `valid` out"
        )
    return lambda tokens: _add_told(denoiser, recorder, tokens)


@torch.inference_mode()
def _add_told(denoiser: Denoiser, recorder: SinkRecorder, tokens: Tensor) -> None:
    """Add what a module of one's own tells of its attention."""
    masses = denoiser.network.attention_mass(tokens)
    assert masses is not None, "it was checked that the module tells"
    for layer, mass in enumerate(masses):
        recorder.add(layer, _numpy(mass)[:, None])


def record_bundle(
    runtime: Runtime,
    questions: Sequence[Question],
    *,
    k: float = TOP_K,
    keep_passes: bool = False,
    asks: Asks = "template",
) -> list[SinkStatistics]:
    """Statistics from the refresh outputs of a bundle, one for each question, a refresh at every step.

    A bundle tells the mass of the layers that choose positions by it, summed over heads.

    Raises:
        InputError: no layer of the bundle does, or `k` is out of range.
    """
    manifest = runtime.bundle.manifest
    if runtime.bundle.kept_shares.signal is not Signal.MASS:
        raise InputError(
            f"bundle {runtime.bundle.path} hands out no attention mass: no layer of its plan chooses "
            "cached positions by it; export a plan with sink_threshold below 1"
        )
    decoding = manifest.decoding.scheduled().model_copy(update={"refresh_interval": 1})
    found = []
    given = [runtime.given(question, asks) for question in questions]
    for one in given:
        (batch,) = batches_of_equal_length([one], 1)
        recorder = SinkRecorder(k, keep_passes=keep_passes, prompts=[len(one.prompt)])
        backend = _RecordedBundle(runtime, recorder)
        generate(backend, batch.prompts, decoding, manifest.mask_token_id, suffixes=batch.suffixes)
        found.append(recorder.statistics())
    return found


def _recorded(denoiser: Denoiser, recorder: SinkRecorder) -> Backend:
    """A backend that decodes by full passes, each of them recorded.

    Raises:
        InputError: the model offers no attention.
    """
    if denoiser.is_cached:
        return _Recorded(denoiser, recorder)
    check_tells_mass(denoiser)
    return _RecordedOwn(denoiser, recorder)


class _Recorded:
    """Decodes a model by full passes, each of them recorded."""

    def __init__(self, denoiser: Denoiser, recorder: SinkRecorder) -> None:
        self._recorder = recorder
        self._valid: NDArray[np.bool_] | None = None
        self._capture = Capture(denoiser.network, self._listen)
        self._causal = denoiser.geometry.causal
        shares = KeptShares.keeping_all(denoiser.num_layers)
        self._backend: Backend = TorchBackend(self._capture.network, shares)

    def _listen(self, layer: int, mass: Tensor) -> None:
        self._recorder.add(layer, _numpy(mass), self._valid)

    def begin(self, *, sampling: Sampling = GREEDY) -> None:
        self._backend.begin(sampling=sampling)

    def refresh(self, tokens: Tokens, start: int, stop: int, *scope: Scope) -> Prediction:
        if self._causal:
            written = np.arange(tokens.shape[1]) < start
            self._valid = np.broadcast_to(written, tokens.shape)
            device = self._capture.network.device
            self._capture.valid = torch.from_numpy(self._valid.copy()).to(device)
        prediction = self._backend.refresh(tokens, start, stop, *scope)
        self._recorder.end_pass(tokens)
        return prediction

    step = refresh


class _RecordedOwn:
    """Decodes a module of one's own, which tells its attention mass beside each pass."""

    def __init__(self, denoiser: Denoiser, recorder: SinkRecorder) -> None:
        self._denoiser, self._recorder = denoiser, recorder
        self._device = denoiser.network.device
        self._backend = FullPassBackend(
            denoiser.network, KeptShares.keeping_all(denoiser.num_layers)
        )

    def begin(self, *, sampling: Sampling = GREEDY) -> None:
        self._backend.begin(sampling=sampling)

    def refresh(self, tokens: Tokens, start: int, stop: int, *scope: Scope) -> Prediction:
        _add_told(self._denoiser, self._recorder, torch.tensor(tokens, device=self._device))
        self._recorder.end_pass(tokens)
        return self._backend.refresh(tokens, start, stop, *scope)

    step = refresh


class _RecordedBundle:
    """Decodes a bundle by refreshes alone, each of them recorded."""

    def __init__(self, runtime: Runtime, recorder: SinkRecorder) -> None:
        self._recorder = recorder
        self._backend = runtime.backend
        self._backend.listen = lambda layer, mass: recorder.add(layer, mass[:, None])

    def begin(self, *, sampling: Sampling = GREEDY) -> None:
        self._backend.begin(sampling=sampling)

    def refresh(self, tokens: Tokens, start: int, stop: int, *scope: Scope) -> Prediction:
        prediction = self._backend.refresh(tokens, start, stop, *scope)
        self._recorder.end_pass(tokens)
        return prediction

    step = refresh


def _numpy(mass: Tensor) -> NDArray[np.float32]:
    return mass.detach().float().cpu().numpy()
