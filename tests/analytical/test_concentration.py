import numpy as np

from hwsearch.analytical.concentration import measure_concentration
from hwsearch.analytical.noise import linear_schedule
from hwsearch.analytical.posterior import PointPosterior
from tests.analytical.data import small_points


def test_a_posterior_concentrates_as_noise_falls():
    points = small_points(count=300)
    clean = small_points(count=20, seed=0).rows
    levels = linear_schedule().levels(8)
    found = measure_concentration(PointPosterior(points), clean, levels)
    documents = [one.document() for one in found]
    assert [one["alpha_bar"] for one in documents] == levels
    effective = [one["effective_points"] for one in documents]
    entropies = [one["entropy_nats"] for one in documents]
    assert effective == sorted(effective, reverse=True)
    assert entropies == sorted(entropies, reverse=True)
    assert effective[0] > 290 and 1 <= effective[-1] < 1.001
    assert abs(entropies[0] - np.log(300)) < 0.02 and entropies[-1] < 0.001
    for one in documents:
        low, middle, high = (one[f"effective_points{end}"] for end in ("_low", "", "_high"))
        assert low <= middle <= high
        assert one["effective_share"] == middle / 300
        # the entropy of so many points is never less than that of the concentration it has
        assert np.exp(one["entropy_nats"]) > 0.5 * middle
