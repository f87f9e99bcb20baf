"""What passes of a graph hand out is held against what they were asked, whatever the graph says of itself."""

import numpy as np
import pytest

from hwsearch.errors import VerificationError
from hwsearch.runtime.guards.graph_ends import check_cache, check_predictions, check_signals


@pytest.mark.parametrize("name", ["token", "confidence", "entropy"])
def test_a_pass_that_predicts_other_rows_than_asked_for_is_refused(name):
    sound = {key: np.zeros((1, 4)) for key in ("token", "confidence", "entropy")}
    check_predictions(sound | {"logits": np.zeros((1, 4, 9))}, 4)
    for shape in ((1, 64), (4, 4), (4,), (1, 4, 1)):
        with pytest.raises(VerificationError, match=f"'{name}' must be of 4 rows"):
            check_predictions(sound | {name: np.zeros(shape)}, 4)


def test_a_pass_that_hands_out_keys_of_other_positions_is_refused():
    check_cache({"key_0": np.zeros((1, 2, 9, 4)), "before": np.zeros((1, 1, 8))}, 9)
    for shape in ((1, 2, 8, 4), (1, 9, 4), (0,)):
        with pytest.raises(VerificationError, match="'key_0' must be of 9 positions"):
            check_cache({"key_0": np.zeros(shape)}, 9)


def test_what_layers_choose_by_is_a_value_a_position():
    check_signals({0: np.zeros((1, 9)), 3: np.zeros((1, 9))}, 9)
    for shape in ((2, 9), (1, 8), (2, 9, 9), (9,)):
        with pytest.raises(VerificationError, match="'mass_3' must be of 9 positions"):
            check_signals({0: np.zeros((1, 9)), 3: np.zeros(shape)}, 9)
