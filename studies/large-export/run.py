"""Export a model above 2 GB, the limit of a protobuf message, and decode one block with it.

    python studies/large-export/run.py --vocab 70000        # 2.6 GB of float weights, 9 GB of memory

Prints the bundle's size, how long exporting and opening took, and whether onnxruntime predicts what
torch predicts. With a small vocabulary it is a quick check of the script itself.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hwsearch.bundle import write_bundle
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.accounting import parameters
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.denoisers.transformer import Transformer
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import OnnxBackend
from hwsearch.testing.tiny import tiny_denoiser


def large_denoiser(vocab: int, hidden: int):
    geometry = Geometry(vocab, hidden, 1, 32, 32, hidden // 32, 1024)
    network = Transformer(geometry).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        if weight.dim() == 2:
            weight.uniform_(-1.0, 1.0, generator=generator).mul_(1.7 * weight.shape[1] ** -0.5)
    return replace(tiny_denoiser(), network=network, name="large")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vocab", type=int, default=70_000)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--format", default="fp32")
    arguments = parser.parse_args()
    denoiser = large_denoiser(arguments.vocab, arguments.hidden)
    plan = CompressionPlan.uniform(1, arguments.format, arguments.format, head=arguments.format)
    compressed = compress(denoiser, plan)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        bundle = write_bundle(compressed, KeptShares((0.5,)), Path(folder) / "bundle")
        exported = time.perf_counter()
        backend = OnnxBackend(bundle, threads=1)
        opened = time.perf_counter()
        files = {path.name: path.stat().st_size for path in bundle.path.iterdir()}
    reference = TorchBackend(compressed.network, KeptShares((0.5,)))
    tokens = np.random.default_rng(0).integers(3, arguments.vocab, (1, 12))
    same = []
    for each in (backend, reference):
        each.begin()
    for name in ("refresh", "step"):
        ours, theirs = (getattr(each, name)(tokens, 4, 8) for each in (backend, reference))
        same.append(ours.tokens.tolist() == theirs.tokens.tolist())
        same.append(bool(np.allclose(ours.confidence, theirs.confidence, rtol=1e-3)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "float_bytes": 4 * parameters(denoiser.geometry).total,
                "size_bytes": bundle.manifest.figures.size_bytes,
                "files": files,
                "export_s": round(exported - began, 1),
                "open_s": round(opened - exported, 2),
                "predicts_as_torch": all(same),
                "peak_memory_bytes": 1024 * peak,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
