import numpy as np
import pytest

from hwsearch.decoding.kept import STATIC_RULES, KeptShares, StaticScores
from hwsearch.decoding.rules import PositionKeeper
from hwsearch.plan import CachePolicy, CacheRule
from hwsearch.runtime.keepers import LayerKeepers, layers_alike

SHARES = (0.5, 1.0, 0.3, 0.5, 0.5, 0.3)
STATIC = StaticScores(
    first=tuple(((layer + 1) % 3, 1.0) for layer in range(6)),
    from_end=tuple(tuple(float((layer * n) % 7) for n in range(9)) for layer in range(6)),
)


@pytest.mark.parametrize(
    "policy",
    [
        *(CachePolicy(rule=rule) for rule in CacheRule),
        *(CachePolicy(rule=rule, running=False) for rule in STATIC_RULES),
        CachePolicy(early_scale=1.4, late_scale=0.6),
    ],
    ids=str,
)
def test_layers_together_keep_what_each_would_alone(policy):
    kept = KeptShares(SHARES, policy, refreshes=3, static=STATIC)
    together = LayerKeepers(kept)
    alone = {layer: PositionKeeper(kept, layer) for layer in kept.pruned}
    rng = np.random.default_rng(0)
    for block, length in enumerate((20, 20, 23)):
        start, stop = 5 + 3 * block, 8 + 3 * block
        # the rules that look at nothing are told nothing
        told = {n: rng.random((1, length), dtype=np.float32) for n in kept.pruned if kept.signal}
        together.see(length, told)
        for layer, keeper in alone.items():
            keeper.see((1, length), told.get(layer))
        found = together.choose(length, start, stop)
        assert found.keys() == alone.keys()
        for layer, keeper in alone.items():
            wanted = keeper.choose((1, length), start, stop)[0]
            assert found[layer].tolist() == wanted.tolist()


def test_a_block_without_a_refresh_counts_for_every_layer():
    kept = KeptShares(SHARES, CachePolicy(late_scale=0.5), refreshes=2)
    keepers = LayerKeepers(kept)
    told = {n: np.random.default_rng(n).random((1, 20), dtype=np.float32) for n in kept.pruned}
    keepers.see(20, told)
    early = {n: len(kept) for n, kept in keepers.choose(20, 4, 8).items()}
    keepers.advance(24)
    late = {n: len(kept) for n, kept in keepers.choose(24, 8, 12).items()}
    assert early == {0: 8, 2: 5, 3: 8, 4: 8, 5: 5}
    assert late == {0: 5, 2: 3, 3: 5, 4: 5, 5: 3}


def test_layers_that_draw_lots_stay_apart():
    drawing = KeptShares(SHARES, CachePolicy(rule=CacheRule.RANDOM))
    assert layers_alike(drawing) == [(0,), (2,), (3,), (4,), (5,)]
    assert layers_alike(KeptShares(SHARES)) == [(0, 3, 4), (2, 5)]
    assert layers_alike(KeptShares.keeping_all(3)) == []
