import numpy as np
import pytest
import torch

from hwsearch.decoding.cache import top_positions
from hwsearch.errors import InputError
from hwsearch.plan import CompressionPlan
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
    assert tuple(shares) == (profile.kept_share(0, 0.25), 1.0)


def test_a_profile_survives_its_file(profile, tmp_path):
    path = tmp_path / "sinks.json"
    path.write_text(profile.model_dump_json())
    assert SinkProfile.read(path) == profile
    path.write_text('{"passes": 3}')
    with pytest.raises(InputError, match="shares: missing"):
        SinkProfile.read(path)
