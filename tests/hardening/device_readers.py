"""Readers of what devices are made of: their folders, and results that kits and llama-bench brought back."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path

from tests.hardening import mutators
from tests.hardening.places import ROOT, Place, Reader, seed, text


def _workload():
    from hwsearch.latency.operators import Workload
    from hwsearch.plan import Decoding

    return Workload(
        6, Decoding(gen_length=8, block_length=4, steps=4, refresh_interval=2, stop_at_end=False)
    )


def _geometry():
    from hwsearch.testing.tiny import tiny_geometry

    return tiny_geometry(layers=2, hidden=64, heads=2, grouped=True)


def _predicted(device):
    """What `hwsearch predict` asks of a device, for the plans of one format each."""
    from hwsearch.decoding.kept import KeptPlan
    from hwsearch.latency.prediction.predictor import Predictor
    from hwsearch.plan import CompressionPlan

    known = device.info.calibrations[0] if device.info.calibrations else None
    predictor = Predictor(device, _geometry(), _workload(), known)
    for fmt in device.costs.formats():
        plan = KeptPlan.keeping_all(CompressionPlan.uniform(2, fmt, fmt, head=fmt))
        found = predictor.predict(plan)
        assert found.generation_ms == found.generation_ms
    return predictor


def _device(name):
    def place(folder):
        shutil.copytree(ROOT / "latency_tables" / name, folder / name)
        return Place(folder / name / "device.toml", folder / name)

    return place


def _read_device(folder):
    from hwsearch.latency.devices.device import load_device
    from hwsearch.latency.operators import OpKey

    device = load_device(folder)
    if not hasattr(device.costs, "samples"):
        device.costs.cost_us(OpKey("linear", 16, 64, 64, 0, device.costs.formats()[0].value))
    for calibration in device.info.calibrations:
        calibration.refresh.of({None: 1.0})
    _predicted(device)
    return device


class _Asked:
    """A device's costs, and which operators they were asked for."""

    def __init__(self):
        self.keys = set()

    def formats(self):
        from hwsearch.plan import WeightFormat

        return [WeightFormat.FP32, WeightFormat.W8]

    def cost_us(self, key):
        from hwsearch.testing.device import formula_us

        self.keys.add(key)
        return formula_us(key)

    def spread(self, key):
        return 0.01


def _samples(keys):
    from hwsearch.testing.device import formula_us

    return {key: ((formula_us(key) + 1.0, formula_us(key) + 2.0),) for key in sorted(keys)}


def _make_timed(folder):
    """A device that was timed, and says nothing of how many samples its table has."""
    from hwsearch.latency.devices.device import Device, DeviceInfo, Provenance, write_info
    from hwsearch.latency.devices.table import LatencyTable

    info = DeviceInfo(
        name="timed", provenance=Provenance.MEASURED, description="a box", runtime="onnxruntime-cpu",
        threads=1, environment={"processor": "a box"},
    )  # fmt: skip
    asked = _Asked()
    _predicted(Device(info, asked, folder))
    LatencyTable(_samples(asked.keys), "timed").write(folder / "onnxruntime-cpu.csv")
    write_info(info, folder / "device.toml")


def _timed(folder):
    shutil.copytree(seed("timed", _make_timed), folder / "timed")
    return Place(folder / "timed" / "onnxruntime-cpu.csv", folder / "timed")


def _runs(folder):
    whole = (ROOT / "latency_tables" / "cpu" / "whole-model.csv").read_text().splitlines(True)
    (folder / "whole-model.csv").write_text("".join(whole[:6]))
    return Place(folder / "whole-model.csv", folder)


def _read_runs(folder):
    from hwsearch.latency.prediction.whole_models import with_runs

    return with_runs(folder, None)


def _unfinished(folder):
    (folder / ".box.unfinished").mkdir()
    header = ",".join(_table_columns())
    (folder / ".box.unfinished" / "samples.csv").write_text(
        f"{header}\nlinear,16,64,64,0,fp32,0,0,0,1.5\n"
    )
    facts = folder / ".box.unfinished" / "environment.json"
    facts.write_text(json.dumps({"processor": "a box", "threads": "1", "governor": None}))
    return Place(facts, folder)


def _table_columns():
    from hwsearch.latency.devices.table_csv import COLUMNS

    return COLUMNS


def _read_unfinished(folder):
    from hwsearch.latency.devices.folder import Journal

    return Journal(folder, "box", {"processor": "a box", "threads": "1"}).read()


def _bench_rows():
    return [
        {"model_type": f"llama 1B {kind}", "model_n_params": _parameters(), "n_prompt": p, "n_gen": g,
         "avg_ts": ts, "n_depth": 0, "n_ubatch": 512, "n_threads": 4, "backends": "CPU",
         "cpu_info": "a box", "gpu_info": "", "build_commit": "abc", "test_time": "2025-01-01"}
        for kind, factor in (("F16", 1.0), ("Q8_0", 1.8), ("Q4_0", 3.0))
        for p, g, ts in ((512, 0, 200.0 * factor), (0, 128, 20.0 * factor))
    ]  # fmt: skip


def _parameters():
    from hwsearch.denoisers.accounting import parameters

    return parameters(_large()).total


def _large():
    from hwsearch.denoisers.geometry import Geometry

    return Geometry(1000, 256, 4, 4, 4, 64, 512)


def _bench_csv():
    written, rows = io.StringIO(), _bench_rows()
    writer = csv.DictWriter(written, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def _read_bench(path):
    from hwsearch.latency.benchmarks.device import import_bench
    from hwsearch.latency.benchmarks.llama_bench import is_llama_bench

    is_llama_bench(path)
    return import_bench(path, "box", _large(), path.parent, overwrite=True)


def _results(folder):
    lines = _results_lines(_operators(), {"sum_us": "138.000"})
    (folder / "results.csv").write_text(_signed(lines))
    return Place(folder / "results.csv")


def _operators():
    return [
        f"linear,16,64,{out},0,w8a8,0,{session},{sample},{10 + sample}.5"
        for out in (64, 128) for session in range(2) for sample in range(3)
    ]  # fmt: skip


def _results_lines(rows, more):
    head = {
        "processor": "a box", "system": "Linux", "python": "3.11", "onnxruntime": "1.25.0", "threads": "1",
        "operators": "2", "sessions": "2", "rounds": "3", "elapsed_s": "1.5", "sum_us": "0", "unit": "us",
    } | more  # fmt: skip
    said = [f"# {key}: {value}" for key, value in head.items()]
    return ["# hwsearch kit results, version 2", *said, ",".join(_table_columns()), *rows]


def _signed(lines):
    """Results with the checksum of all their other lines."""
    digest = hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    return "\n".join([lines[0], f"# sha256: {digest}", *lines[1:]]) + "\n"


class SealedResults(Place):
    """Results whose sum and checksum are made anew after each change."""

    def __call__(self, content):
        held = content.decode("utf-8", "surrogateescape").splitlines()
        lines = [line for line in held if not line.startswith("# sha256: ")]
        if not lines:
            return super().__call__(content)
        total = sum(map(_sample, lines))
        lines = [f"# sum_us: {total:.3f}" if x.startswith("# sum_us: ") else x for x in lines]
        return super().__call__(_signed(lines).encode("utf-8", "surrogateescape"))


def _sample(line):
    try:
        return 0.0 if line.startswith("#") else float(line.rpartition(",")[2])
    except ValueError:
        return 0.0


def _sealed_results(folder):
    return SealedResults(_results(folder).path)


def _make_whole(folder):
    """Results of a kit that ran whole models, as long as a formula says."""
    from hwsearch.latency.devices.device import Device
    from hwsearch.latency.devices.table import LatencyTable
    from hwsearch.latency.kit.importer import whole_runs
    from hwsearch.latency.kit.models import kit_models

    models = kit_models("tiny", _geometry(), _workload(), _Asked().formats())
    asked, passes = _Asked(), _samples([])
    for key in models.keys():  # noqa: SIM118 - it is no dictionary
        asked.cost_us(key)
    passes = {key: ((20.0 + key.rows, 21.0 + key.rows), (22.0, 23.0)) for key in asked.keys}
    asked = _Asked()
    with_info = Device(_info(), asked, folder)
    whole_runs(models, None, LatencyTable(passes, "passes"), with_info)
    samples = {key: (one[0], one[0]) for key, one in _samples(asked.keys).items()} | passes
    rows = [
        ",".join(map(str, (*_columns(key), session, index, sample)))
        for key in sorted(samples)
        for session, timed in enumerate(samples[key])
        for index, sample in enumerate(timed)
    ]
    more = {"operators": len(samples), "rounds": 2, "whole": models.model_dump_json()}
    (folder / "results.csv").write_text(_signed(_results_lines(rows, more)))


def _info():
    from hwsearch.latency.devices.device import DeviceInfo, Provenance

    return DeviceInfo(
        name="box",
        provenance=Provenance.MODELLED,
        description="a box",
        runtime="formula",
        threads=1,
    )


def _columns(key):
    from hwsearch.latency.devices.table_csv import KEY_COLUMNS

    return [getattr(key, name) for name in KEY_COLUMNS]


def _whole(folder):
    shutil.copy(seed("whole", _make_whole) / "results.csv", folder)
    place = SealedResults(folder / "results.csv")
    place.path.write_bytes(place.content)
    return place


def whole_changed(content, chance):
    """The JSON of the whole models in a head changed."""
    lines = content.decode("utf-8", "replace").split("\n")
    at = [n for n, line in enumerate(lines) if line.startswith("# whole: ")]
    if not at:
        return mutators.number_changed(content, chance)
    changed = mutators.json_changed(lines[at[0]].removeprefix("# whole: ").encode(), chance)
    lines[at[0]] = "# whole: " + changed.decode("utf-8", "replace")
    return "\n".join(lines).encode("utf-8", "replace")


def _read_results(path):
    from hwsearch.latency.kit.results import read_results

    return read_results(path)


def _read_whole(path: Path):
    from hwsearch.latency.kit.importer import import_results

    return import_results(path, "box", path.parent, overwrite=True)


DEVICES: dict[str, Reader] = {
    "device.toml": Reader(_device("apple-m2"), _read_device),
    "latency table": Reader(_timed, _read_device, share=0.25),
    "whole-model runs": Reader(_runs, _read_runs),
    "unfinished profile": Reader(_unfinished, _read_unfinished, mutators.JSON),
    "llama-bench": Reader(
        text("bench.json", lambda: json.dumps(_bench_rows(), indent=1)), _read_bench, mutators.JSON
    ),
    "llama-bench in CSV": Reader(text("bench.csv", _bench_csv), _read_bench),
    "kit results": Reader(_results, _read_results),
    "kit results, sealed again": Reader(_sealed_results, _read_results),
    "whole models of a kit, sealed again": Reader(
        _whole, _read_whole, (*mutators.TEXT, *[whole_changed] * 12), share=0.1
    ),
}  # fmt: skip
