"""onnxruntime-web: onnxruntime compiled for browsers and Node, where it runs on the processor (wasm).

Nothing of it runs in Python: `hwsearch.runtime.web` holds what times its graphs and runs its bundles.
It has all operators of transformers, and integer products are exact. Weights in blocks are multiplied by
float inputs, and 8-bit floats have no kernel.
"""

from typing import Final

from hwsearch.plan import WeightFormat
from hwsearch.runtime.providers.provider import Provider

WEB: Final = Provider(
    name="onnxruntime-web",
    execution="wasm",
    package="onnxruntime-web",
    least="1.30.0",
    formats=tuple(fmt for fmt in WeightFormat if fmt not in (WeightFormat.FP16, WeightFormat.FP8)),
    rounds_inputs=False,
    elsewhere="Node and browsers do; `hwsearch web FOLDER` writes what runs a bundle there",
)
