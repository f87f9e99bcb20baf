"""onnxruntime-web: onnxruntime compiled for browsers and Node, where it runs on the processor (wasm).

Nothing of it runs in Python. `hwsearch.runtime.web` holds what times its graphs and runs its bundles.
"""

from typing import Final

from hwsearch.plan import WeightFormat
from hwsearch.runtime.providers.provider import Provider

WEB: Final = Provider(
    name="onnxruntime-web",
    execution="wasm",
    package="onnxruntime-web",
    least="1.30.0",
    formats=tuple(fmt for fmt in WeightFormat if fmt is not WeightFormat.FP16),
    elsewhere="Node and browsers do; `hwsearch web FOLDER` writes what runs a bundle there",
)
