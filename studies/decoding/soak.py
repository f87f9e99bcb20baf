"""A thousand generations of one bundle: does memory grow, and do two threads write what one writes?

    python studies/decoding/soak.py [--generations 1000] [--format w8a8]

Exports gsm-mini decoded by `threshold` with advances and a stop, answers validation problems with
one `Runtime` and tells the resident memory of the process every fifth of the way; then answers the
same again from two threads and compares the tokens. Exit status 1 if memory grew by more than
`MOST_MIB` after the first fifth, or any token differs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from hwsearch.bundle.exporter import exporter_of
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.engine import Runtime
from hwsearch.tasks.gsm_mini.generator import problems

#: Growth that is noise: the allocator's, of a process of several hundred MiB.
MOST_MIB = 2.0

FAST = {"commit": {"policy": "threshold"}, "stop_at_end": True, "window": {"advance": True}}


def main() -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--generations", type=int, default=1000)
    parser.add_argument("--format", default="w8a8")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runtime = exported(options.format, Path(folder) / "bundle")
        asked = [runtime.prompt(p.question) for p in islice(problems("validation"), 200)]
        prompts = [asked[i % len(asked)] for i in range(options.generations)]
        alone, sizes = [], []
        began = time.perf_counter()
        for number, prompt in enumerate(prompts, start=1):
            alone.append(runtime.generate_tokens(prompt))
            if number % (options.generations // 5) == 0:
                sizes.append(resident_mib())
                print(f"{number} generations: {sizes[-1]:.1f} MiB", flush=True)
        between = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            together = list(pool.map(runtime.generate_tokens, prompts))
        ended = time.perf_counter()
    differ = sum(a != b for a, b in zip(alone, together, strict=True))
    print(f"growth after the first fifth: {sizes[-1] - sizes[0]:.1f} MiB")
    print(f"two threads: {differ} of {len(prompts)} differ, {resident_mib():.1f} MiB")
    print(f"seconds: {between - began:.1f} alone, {ended - between:.1f} from two threads")
    return int(differ > 0 or sizes[-1] - sizes[0] > MOST_MIB)


def exported(fmt: str, folder: Path) -> Runtime:
    """A bundle of gsm-mini with all products in one format, open on one thread."""
    denoiser = load_denoiser("gsm-mini")
    layers = denoiser.num_layers
    decoding = denoiser.decoding.changed(FAST).model_dump()
    plan = CompressionPlan.uniform(layers, fmt, fmt, head=fmt, decoding=decoding)
    kept = KeptShares.keeping_all(layers)
    return Runtime(exporter_of(denoiser).export(compress(denoiser, plan), kept, folder), threads=1)


def resident_mib() -> float:
    """Resident memory of this process in MiB; Linux alone tells it while it runs."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(main())
