"""The benchmarked models: their sizes, and how their files store weights.

Sizes are those of the models' published configurations. LFM2 is a hybrid of convolutions and
attention; a transformer of the same widths has the same matrices within 2 %.
"""

from __future__ import annotations

from hwsearch.denoisers.geometry import Geometry
from hwsearch.latency.benchmarks.passes import ENCODINGS as PUBLISHED
from hwsearch.latency.benchmarks.passes import Encoding

GEOMETRIES = {
    "LLaMA-2-7B": Geometry(32000, 4096, 32, 32, 32, 128, 11008),
    "Llama-2-13B": Geometry(32000, 5120, 40, 40, 40, 128, 13824),
    # one model; the sources spell its versions so
    **dict.fromkeys(
        ("LLaMA-3-8B", "Llama-3-8B", "LLaMA-3.1-8B", "Llama-3.1-8B"),
        Geometry(128256, 4096, 32, 32, 8, 128, 14336),
    ),
    "Llama-3.2-1B": Geometry(128256, 2048, 16, 32, 8, 64, 8192),
    "Llama-3.2-3B": Geometry(128256, 3072, 28, 24, 8, 128, 8192),
    "TinyLlama-1.1B": Geometry(32000, 2048, 22, 32, 4, 64, 5632),
    "Qwen3-0.6B": Geometry(151936, 1024, 28, 16, 8, 128, 3072),
    "SmolLM2-360M": Geometry(49152, 960, 32, 15, 5, 64, 2560),
    "LFM2-350M": Geometry(65536, 1024, 16, 16, 16, 64, 4608),
    "LFM2-700M": Geometry(65536, 1536, 16, 24, 24, 64, 6912),
    "Qwen2 14B (R1-distill)": Geometry(152064, 5120, 48, 40, 8, 128, 13824),
    "Qwen2 32B (R1-distill)": Geometry(152064, 5120, 64, 40, 8, 128, 27648),
}


#: llama.cpp's, and those of other engines.
ENCODINGS = PUBLISHED | {
    "W4A8 g32 (SpinQuant)": Encoding(18 / 32, 1.0),
    "W4A8 g128": Encoding(0.5 + 2 / 128, 1.0),
}
