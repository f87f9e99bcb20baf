import numpy as np
import pytest

from hwsearch.decoding.backend import Prediction, Sampling
from hwsearch.decoding.passes import PassKind
from hwsearch.decoding.sampler import generation
from hwsearch.errors import InputError, PlanError
from hwsearch.forecast.passes import Foreseen
from hwsearch.plan import Decoding

MASK, VOCAB, PROMPT = 0, 12, 2


class Knowing:
    """Writes token = position + 1; a mask is as sure as few masks are left before it in its block."""

    forecast = None

    def begin(self, *, sampling=None):
        assert sampling is None or sampling.logits
        self.calls = []

    def refresh(self, tokens, start, stop):
        return self._run(PassKind.REFRESH, tokens, start, stop)

    def step(self, tokens, start, stop):
        return self._run(PassKind.STEP, tokens, start, stop)

    def logits(self, tokens, start, stop):
        block = tokens[:, start:stop]
        open_before = np.cumsum(block == MASK, axis=1) - (block == MASK)
        logits = np.zeros((*block.shape, VOCAB), dtype=np.float32)
        right = np.broadcast_to(np.arange(start, stop) + 1, block.shape)
        np.put_along_axis(logits, right[:, :, None], (9.0 - 4.0 * open_before)[:, :, None], axis=2)
        return logits

    def _run(self, kind, tokens, start, stop):
        self.calls.append((kind, tokens[:, start:stop].copy()))
        logits = self.logits(tokens, start, stop)
        weights = np.exp(logits)
        confidence = weights.max(axis=2) / weights.sum(axis=2)
        return Prediction(logits.argmax(axis=2), confidence, logits=logits)


class Oracle:
    """Foresees exactly what the next pass would put out, for a block that begins where it is told."""

    def __init__(self, backend, trusted=True, wrong=False):
        self.backend, self.trusted, self.wrong = backend, trusted, wrong
        self.blocks = 0

    def forecaster(self):
        return self

    def begin(self):
        self.blocks += 1

    def see(self, logits, hidden, masked):
        assert logits.shape[:2] == masked.shape

    def foresee(self, tokens, masked):
        start = PROMPT + 4 * (self.blocks - 1)
        whole = np.concatenate([np.full((len(tokens), start), 1), tokens], axis=1)
        logits = self.backend.logits(whole, start, whole.shape[1])
        if self.wrong:
            logits = np.roll(logits, 1, axis=2)
        return Foreseen(logits, np.full(len(tokens), self.trusted))


def decoding(forecast=None, **more):
    return Decoding(
        gen_length=8, block_length=4, steps=8, refresh_interval=4,
        commit={"policy": "threshold", "threshold": 0.99}, forecast=forecast, **more,
    )  # fmt: skip


def written(backend, how, batch=1):
    return generation(backend, np.full((batch, PROMPT), 5), how, MASK)


def foreseen(how, **options):
    backend = Knowing()
    backend.forecast = Oracle(backend, **options)
    return backend, written(backend, how)


REUSE = {"method": "reuse", "threshold": 0.95}


def test_what_is_foreseen_is_written_without_a_pass():
    plain = written(Knowing(), decoding())
    _, found = foreseen(decoding(REUSE))
    assert plain.tokens.tolist() == found.tokens.tolist()
    assert len(plain.passes) == 8 and plain.foreseen is None
    # each pass writes one token and a forecast the next: two passes a block in place of four
    assert len(found.passes) == 4
    assert found.foreseen.tolist() == [[False, True, False, True] * 2]
    assert found.confirmed.tolist() == found.foreseen.tolist()


def test_a_foreseen_token_counts_as_written_by_the_pass_before_it():
    _, found = foreseen(decoding(REUSE))
    assert found.written.tolist() == [[0, 0, 1, 1, 2, 2, 3, 3]]


def test_depth_foresees_several_passes_in_a_row():
    _, found = foreseen(decoding(REUSE | {"depth": 2}))
    assert [record.call.shape.kind for record in found.passes] == [
        PassKind.REFRESH, PassKind.STEP, PassKind.REFRESH, PassKind.STEP,
    ]  # fmt: skip
    assert found.foreseen.sum() == 4
    _, whole = foreseen(decoding(REUSE | {"depth": 3}))
    assert len(whole.passes) == 2


def test_an_untrusted_forecast_writes_nothing():
    plain = written(Knowing(), decoding())
    _, found = foreseen(decoding(REUSE), trusted=False)
    assert len(found.passes) == len(plain.passes) and not found.foreseen.any()


@pytest.mark.parametrize("wrong", [False, True])
def test_verified_forecasts_never_write_what_a_pass_would_not(wrong):
    plain_backend = Knowing()
    plain = written(plain_backend, decoding())
    backend, found = foreseen(decoding(REUSE | {"verify": True}), wrong=wrong)
    assert found.tokens.tolist() == plain.tokens.tolist()
    assert found.written.tolist() == plain.written.tolist()
    for (_, seen), (_, wanted) in zip(backend.calls, plain_backend.calls, strict=True):
        assert seen.tolist() == wanted.tolist()
    assert found.foreseen.any()
    assert found.confirmed.tolist() == (found.foreseen & (not wrong)).tolist()


def test_a_wrong_forecast_is_written_unless_it_is_verified():
    _, found = foreseen(decoding(REUSE), wrong=True)
    assert found.tokens.tolist() != written(Knowing(), decoding()).tokens.tolist()


def test_samples_of_a_batch_are_foreseen_apart():
    backend = Knowing()
    backend.forecast = Oracle(backend)
    found = written(backend, decoding(REUSE), batch=3)
    assert len(found.passes) == 4
    assert found.foreseen.tolist() == [[False, True, False, True] * 2] * 3


def test_a_model_without_a_forecast_is_refused():
    with pytest.raises(InputError, match=r"forecast reuse 0\.95.*no forecast was fitted"):
        written(Knowing(), decoding(REUSE))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"commit": None, "steps": 8}, "name a policy in commit"),
        ({"window": {"slide": True}}, "window.slide moves it on"),
        ({"temperature": 0.5}, "temperature draws them by lot"),
        ({"forecast": {"method": "oracle"}}, "forecast"),
        ({"forecast": {"method": "reuse", "threshold": 0.0}}, "threshold"),
    ],
)
def test_decodings_that_cannot_be_foreseen_say_why(changes, message):
    with pytest.raises(PlanError, match=message):
        decoding(REUSE).changed(changes)


def test_a_decoding_asks_for_logits_only_where_it_foresees():
    assert not Sampling.of(decoding()).logits
    assert Sampling.of(decoding(REUSE)) == Sampling(logits=True)
    assert Sampling.of(decoding({"method": "low-rank"})) == Sampling(logits=True, hidden=True)


def test_texts_of_earlier_decodings_stay_as_they_were():
    assert "forecast" not in decoding().model_dump_json()
    assert decoding(REUSE).unforeseen() == decoding()
    assert decoding(REUSE).scheduled() == decoding().scheduled()
    assert decoding(REUSE).words == "threshold 0.99, forecast reuse 0.95"
