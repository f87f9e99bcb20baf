import numpy as np
import pytest
import torch

from hwsearch.decoding.cache import top_positions
from hwsearch.errors import InputError
from hwsearch.plan import CacheRule, CompressionPlan
from hwsearch.sinks import SinkProfile, calibrate_sinks
from hwsearch.testing.tiny import tiny_denoiser

QUESTIONS = ["tom has 3 apples ?", "tom has 4 apples and buys 5 more ?"]


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser()


@pytest.fixture(scope="module")
def profile(denoiser):
    return calibrate_sinks(denoiser, QUESTIONS)


def test_shares_grow_with_the_threshold_up_to_everything(profile):
    for layer in range(2):
        shares = [profile.kept_share(layer, t) for t in np.linspace(0, 1, 21)]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        assert shares[0] > 0.0


def test_a_position_is_on_average_a_sink_as_often_as_the_top_share_says(profile):
    passes = profile.passes
    for shares in profile.shares:
        variance = np.arange(passes + 1) / passes
        mean = (np.diff(shares, prepend=0.0) * variance).sum()
        assert 1 - mean == pytest.approx(profile.top_share, abs=0.06)


def test_mass_of_the_network_agrees_with_attention_by_hand(denoiser):
    tokens = torch.tensor([[3, 4, 5, 0, 0]])
    state = denoiser.network.refresh(tokens, frozenset({0, 1}))
    heads = denoiser.geometry.num_heads
    for mass in state.mass:
        assert mass.shape == (1, 5)
        assert float(mass.sum()) == pytest.approx(heads * 5, rel=1e-5)
    assert top_positions(state.mass[0].numpy()).sum() == 2


def test_kept_shares_of_a_plan_follow_each_layer(profile):
    plan = CompressionPlan.validate({"layers": [{"sink_threshold": 0.25}, {}]})
    shares = profile.kept_shares(plan)
    assert shares.shares == (profile.kept_share(0, 0.25), 1.0)


def test_a_profile_survives_its_file(profile, tmp_path):
    path = tmp_path / "sinks.json"
    path.write_text(profile.model_dump_json())
    assert SinkProfile.read(path) == profile
    path.write_text('{"passes": 3}')
    with pytest.raises(InputError, match="shares: missing"):
        SinkProfile.read(path)


def test_transience_has_shares_of_its_own_and_plans_choose_their_rule(profile):
    stable, transient = CacheRule.KEEP_STABLE, CacheRule.DROP_TRANSIENT
    shares = [profile.kept_share(0, t, transient) for t in (0.0, 0.5, 1.0)]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert profile.kept_share(0, 0.0, stable) != shares[0]
    plan = CompressionPlan.uniform(2, sink_threshold=0.3, cache={"rule": "recent"})
    assert profile.kept_shares(plan).shares == (0.3, 0.3)


def test_calibrated_scores_serve_plans_that_do_not_score_anew(profile, denoiser):
    plan = CompressionPlan.uniform(2, sink_threshold=0.3, cache={"running": False})
    kept = profile.kept_shares(plan)
    assert kept.static == profile.static[CacheRule.KEEP_STABLE]
    assert kept.refreshes == denoiser.decoding.refreshes
    longest = max(len(denoiser.prompt(question)) for question in QUESTIONS) + 8
    for layer in range(2):
        assert len(kept.static.from_end[layer]) == longest
        assert len(kept.static.first[layer]) == 4


def test_an_older_profile_still_loads_but_knows_no_transience(tmp_path):
    path = tmp_path / "old.json"
    path.write_text('{"passes": 1, "shares": [[0.5, 1.0]]}')
    old = SinkProfile.read(path)
    assert old.kept_share(0, 0.5) == 0.5
    with pytest.raises(InputError, match="no shares for drop-transient; calibrate"):
        old.kept_share(0, 0.5, CacheRule.DROP_TRANSIENT)


def test_calibration_needs_a_question(denoiser):
    with pytest.raises(InputError, match="at least one question"):
        calibrate_sinks(denoiser, [])
