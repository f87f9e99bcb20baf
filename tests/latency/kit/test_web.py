"""A kit for onnxruntime-web: what Node brings back becomes a device of that runtime."""

import json

import pytest

from hwsearch.errors import TableError
from hwsearch.latency.kit.importer import import_results
from hwsearch.latency.kit.kinds import WEB_KIT
from hwsearch.latency.kit.models import kit_models
from hwsearch.latency.kit.writer import write_kit
from hwsearch.latency.operators import OpKey, Workload
from hwsearch.latency.timing.operator_times import operators_of
from hwsearch.plan import Decoding, WeightFormat
from hwsearch.testing.tiny import tiny_geometry
from tests.latency.kit.test_kit import KEYS
from tests.runtime.web.node import run, with_modules

GEOMETRY = tiny_geometry(layers=2, hidden=64, heads=2, grouped=True)
WORK = Workload(6, Decoding(gen_length=32, block_length=16, steps=8, refresh_interval=2))
EVERY = [OpKey("linear", 3, 256, 32, format=fmt.value) for fmt in WEB_KIT.provider.formats]


def test_a_kit_says_where_weights_would_lie(tmp_path):
    folder = write_kit(KEYS, tmp_path / "kit", kind=WEB_KIT)
    kit = json.loads((folder / "kit.json").read_text())
    assert kit["runtime"] == "onnxruntime-web"
    for operator in kit["operators"]:
        assert operator["weight_offsets"].keys() == operator["weights"].keys()
        assert all(offset % 64 == 0 for offset in operator["weight_offsets"].values())
        assert (operator["weight_bytes"] > 0) == bool(operator["weights"])
    assert (folder / "measure.mjs").is_file() and not (folder / "measure.py").exists()
    assert "timeKit" in (folder / "index.html").read_text()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit") / "kit"
    models = kit_models("tiny", GEOMETRY, WORK)
    keys = sorted({*operators_of(GEOMETRY, WORK), *EVERY})
    with_modules(write_kit(keys, folder, models, WEB_KIT))
    out = folder.parent / "results.csv"
    run(folder / "measure.mjs", "--rounds", "2", "--sessions", "2", "-o", out)
    return out


def test_results_of_node_become_a_calibrated_device(results, tmp_path):
    device = import_results(results, "browser", tmp_path)
    assert device.info.runtime == "onnxruntime-web"
    assert (tmp_path / "browser" / "onnxruntime-web.csv").is_file()
    assert device.info.environment["engine"].startswith("node ")
    assert device.info.environment["onnxruntime"].startswith("1.")
    assert device.info.environment["provider"] == "wasm"
    assert {key.format for key in EVERY} <= {key.format for key in device.table.samples}
    assert device.info.calibration("tiny").step.plans == 8
    assert WeightFormat.W4 in device.costs.formats()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "# runtime: onnxruntime-web",
            "# runtime: onnxruntime-vulkan",
            "runtime must be one that kits",
        ),
        ("# engine: node", "# motor: node", "the head must say 'engine'"),
        ("# runtime: onnxruntime-web", "# runtime: onnxruntime-cpu", "the head must say 'python'"),
    ],
)
def test_what_does_not_say_what_it_is_of_is_refused(results, tmp_path, old, new, said):
    text = results.read_text()
    assert old in text
    path = tmp_path / "results.csv"
    path.write_text(text.replace(old, new))
    with pytest.raises(TableError, match=said):
        import_results(path, "browser", tmp_path / "out")
    assert not (tmp_path / "out").exists()
