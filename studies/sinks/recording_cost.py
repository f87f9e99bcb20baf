"""What recording sink statistics costs: time and memory, beside the same passes unrecorded.

    python studies/sinks/recording_cost.py

runs a model of random weights, of LLaDA's 32 layers and 32 heads and a small hidden size, at length
1,024. Plain and recorded passes alternate, so that their ratio holds on a busy machine. Memory is the
highest resident size above that of the plain passes, sampled while recorded ones run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch

from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.transformer import Transformer
from hwsearch.sinks import Capture, SinkRecorder


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    network = Transformer(
        Geometry(
            vocab_size=256,
            hidden_size=options.heads * options.head_dim,
            num_layers=options.layers,
            num_heads=options.heads,
            num_kv_heads=options.heads,
            head_dim=options.head_dim,
            intermediate_size=2 * options.heads * options.head_dim,
        )
    ).eval()
    tokens = torch.randint(256, (1, options.length))
    print(json.dumps(measure(network, tokens, options.passes), indent=2))


def measure(network: Transformer, tokens: torch.Tensor, passes: int) -> dict[str, float]:
    """Medians over passes, and the memory that recording adds."""
    recorder = SinkRecorder(keep_passes=True)
    capture = Capture(network, lambda layer, mass: recorder.add(layer, mass.float().numpy()))

    def plain() -> None:
        with torch.inference_mode():
            network(tokens)

    def recorded() -> None:
        capture.run(tokens)
        recorder.end_pass()

    plain()
    before = resident_mb()
    plain_mb = peak_mb(plain)
    recorded_mb = peak_mb(recorded)
    ratios, plain_s = [], []
    for _ in range(passes):
        first, second = seconds(plain), seconds(recorded)
        plain_s.append(first)
        ratios.append(second / first)
        recorded_mb = max(recorded_mb, resident_mb())
    return {
        "passes": passes,
        "plain_ms": round(1e3 * statistics.median(plain_s), 1),
        "recorded_over_plain": round(statistics.median(ratios), 3),
        "plain_peak_mb": round(plain_mb - before, 1),
        "recorded_peak_mb": round(recorded_mb - before, 1),
        "added_mb": round(recorded_mb - max(plain_mb, before), 1),
    }


def seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def resident_mb() -> float:
    """Resident memory of this process now, from Linux's /proc."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def peak_mb(run: Callable[[], None]) -> float:
    """Highest resident memory while something runs, sampled each millisecond."""
    highest, done = resident_mb(), threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.001):
            highest = max(highest, resident_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return highest


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--head-dim", type=int, default=8)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--passes", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
