"""What times graphs and runs bundles with onnxruntime-web: JavaScript for Node and browsers, not built.

`decoding/` is the twin of `hwsearch.decoding` and `hwsearch.commit`, for one sequence and without chance;
`kit/` that of the script in `hwsearch.latency.kit`. Tests hold each twin to the other.
"""

from hwsearch.runtime.web.scripts import write_kit_scripts, write_runner

__all__ = ["write_kit_scripts", "write_runner"]
