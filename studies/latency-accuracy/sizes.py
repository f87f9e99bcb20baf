"""As run.py, of plans with fewer heads and channels, phases and other rules of the cache.

    python studies/latency-accuracy/sizes.py [--plans 30] [--rounds 12] [--sessions 3] [--seed 2028]

Some of the plans that calibrate are pruned, too, by magnitude.
"""

from __future__ import annotations

import random

from run import RESULTS, parse, study

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.formats.catalog import ONNX_FORMATS
from hwsearch.latency.prediction.calibration import MAGNITUDE
from hwsearch.latency.timing.operator_times import Kept
from hwsearch.plan import CachePolicy, CompressionPlan
from hwsearch.study.choices.search_space import THRESHOLDS

KEPT = Kept((0.6,), (0.75, 0.5))
CACHES = (
    CachePolicy(),
    CachePolicy(late_scale=0.5),
    CachePolicy(early_scale=1.5, late_scale=0.3, boundary=0.7),
    CachePolicy(rule="mean-query"),
    CachePolicy(rule="recent", late_scale=0.5),
    CachePolicy(running=False),
)


def draw(denoiser: Denoiser, count: int, seed: int) -> list[CompressionPlan]:
    """Plans whose sizes, formats and thresholds are drawn layer by layer, and each cache in turn."""
    rng = random.Random(seed)
    choices = {
        "sink_threshold": THRESHOLDS,
        "attention": ONNX_FORMATS,
        "mlp": ONNX_FORMATS,
        **KEPT.sizes(denoiser.geometry),
    }
    return [
        CompressionPlan.validate(
            {
                "layers": [
                    {name: rng.choice(values) for name, values in choices.items()}
                    for _ in range(denoiser.num_layers)
                ],
                "head": rng.choice(ONNX_FORMATS),
                "cache": CACHES[index % len(CACHES)],
                "pruning": MAGNITUDE,
            }
        )
        for index in range(count)
    ]


def main() -> None:
    options = parse(__doc__, plans=30, out=RESULTS / "sizes")
    denoiser = load_denoiser(options.model)
    study(denoiser, draw(denoiser, options.plans, options.seed), options, KEPT)


if __name__ == "__main__":
    main()
