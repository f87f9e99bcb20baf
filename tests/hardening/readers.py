"""Every reader of files from outside: a seed that the product itself wrote, and what reads it."""

from __future__ import annotations

import atexit
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.hardening import mutators

ROOT = Path(__file__).parents[2]


class Place:
    """Writes a file of a folder anew, the others as they are."""

    def __init__(self, path, given=None):
        self.path, self.given = path, given or path
        self.content = path.read_bytes()

    def __call__(self, content):
        self.path.write_bytes(content)
        return self.given


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        place: makes its seed in a folder, and says where it lies.
        read: reads it.
        mutators: how it is changed.
    """

    place: Callable[[Path], Place]
    read: Callable[[Path], object]
    mutators: tuple = mutators.TEXT


def _text(name, text):
    def place(folder):
        (folder / name).write_text(text, encoding="utf-8")
        return Place(folder / name)

    return place


def _plan(folder):
    from hwsearch.plan import CompressionPlan

    decoding = {
        "gen_length": 32, "block_length": 8, "steps": 16, "refresh_interval": 4, "temperature": 0.5,
        "window": {"before": 2, "after": 4}, "suffix_window": 16,
    }  # fmt: skip
    plan = CompressionPlan.uniform(
        3, "w8a8", "w4", sink_threshold=0.5, decoding=decoding, kept_heads=1, sparsity="2:4"
    )
    (folder / "plan.json").write_text(plan.to_json())
    return Place(folder / "plan.json")


def _read_plan(path):
    from hwsearch.plan import CompressionPlan

    return CompressionPlan.read(path).to_json()


def _read_decoding(path):
    from hwsearch.plan import Decoding

    makers = Decoding(gen_length=64, block_length=32, steps=32, refresh_interval=16)
    return makers.changed(Decoding.read_changes(path))


STUDY = """name = "half"
model = "gsm-mini"
device = "cpu"
target_ratio = 0.5
trials = 120
seed = 3
problems = 64
[space]
formats = ["fp32", "w8a8", "w4"]
thresholds = [1.0, 0.5]
groups = "tied"
"""


def _read_study(path):
    from hwsearch.study.settings import StudySpec

    return StudySpec.resolve(path, {}).to_toml()


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
    return device


def _table(folder):
    lines = (ROOT / "latency_tables" / "cpu" / "onnxruntime-cpu.csv").read_text().splitlines(True)
    (folder / "table.csv").write_text("".join(lines[:61]))
    return Place(folder / "table.csv")


def _read_table(path):
    from hwsearch.latency.devices.table import LatencyTable

    return LatencyTable.read(path).p50_us


def _runs(folder):
    shutil.copy(ROOT / "latency_tables" / "cpu" / "whole-model.csv", folder)
    return Place(folder / "whole-model.csv", folder)


def _read_runs(folder):
    from hwsearch.latency.prediction.whole_models import with_runs

    return with_runs(folder, None)


def _profile(folder):
    from hwsearch.sinks import SinkProfile

    shares = tuple(tuple((k + 1) / 9 for k in range(9)) for _ in range(3))
    scores = {"first": [[0.5, 0.2]] * 3, "from_end": [[0.1, 0.2, 0.3]] * 3}
    profile = SinkProfile(
        passes=8, shares=shares, transient_shares=shares, static={"keep-stable": scores}
    )
    (folder / "sinks.json").write_text(profile.model_dump_json())
    return Place(folder / "sinks.json")


def _read_profile(path):
    from hwsearch.plan import CompressionPlan
    from hwsearch.sinks import SinkProfile

    found = SinkProfile.read(path)
    for rule in found.static.values():
        rule.of(0, 12)
    return found.kept_shares(CompressionPlan.uniform(len(found.shares), sink_threshold=0.5))


JSONL = "".join(
    json.dumps({"question": f"tom has {n} apples", "answer": f"so\n#### {n}", "suffix": "."}) + "\n"
    for n in range(8)
)


def _read_jsonl(path):
    from hwsearch.tasks.problem import read_problems, read_questions

    read_questions(path)
    return read_problems(path)


def _bench(folder):
    rows = [
        {"model_type": f"llama 1B {kind}", "model_n_params": 1_235_814_432, "n_prompt": p, "n_gen": g,
         "avg_ts": ts, "n_depth": 0, "n_ubatch": 512, "n_threads": 4, "backends": "CPU",
         "cpu_info": "a box", "gpu_info": "", "build_commit": "abc", "test_time": "2025-01-01"}
        for kind, factor in (("F16", 1.0), ("Q8_0", 1.8), ("Q4_0", 3.0))
        for p, g, ts in ((512, 0, 200.0 * factor), (0, 128, 20.0 * factor))
    ]  # fmt: skip
    (folder / "bench.json").write_text(json.dumps(rows, indent=1))
    return Place(folder / "bench.json")


def _read_bench(path):
    from hwsearch.latency.benchmarks.llama_bench import is_llama_bench, read_bench

    is_llama_bench(path)
    return read_bench(path).kinds


def _results(folder):
    import hashlib

    from hwsearch.latency.devices.table_csv import COLUMNS

    rows = [
        f"linear,16,64,{out},0,w8a8,0,{session},{sample},{10 + sample}.5"
        for out in (64, 128) for session in range(2) for sample in range(3)
    ]  # fmt: skip
    head = {
        "processor": "a box", "system": "Linux", "python": "3.11",
        "onnxruntime": "1.25.0", "threads": "1", "operators": "2",
        "sessions": "2", "rounds": "3", "elapsed_s": "1.5", "sum_us": "138.000", "unit": "us",
    }  # fmt: skip
    lines = ["# hwsearch kit results, version 2", *(f"# {k}: {v}" for k, v in head.items())]
    lines += [",".join(COLUMNS), *rows]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    text = "\n".join([*lines[:12], f"# sha256: {digest}", *lines[12:]]) + "\n"
    (folder / "results.csv").write_text(text)
    return Place(folder / "results.csv")


def _sealed_results(folder):
    place = _results(folder)
    return SealedResults(place.path)


class SealedResults(Place):
    """Results whose checksum is made anew after each change."""

    def __call__(self, content):
        import hashlib

        text = content.decode("utf-8", "surrogateescape")
        lines = [line for line in text.splitlines() if not line.startswith("# sha256: ")]
        digest = hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
        lines.insert(1, f"# sha256: {digest}")
        return super().__call__(("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))


def _read_results(path):
    from hwsearch.latency.kit.results import read_results

    return read_results(path)


SEEDS: dict[str, Path] = {}


def seed(name, make):
    """A folder that is made once a process, since models and bundles take a second."""
    if name not in SEEDS:
        SEEDS[name] = Path(tempfile.mkdtemp(prefix="hwsearch-seed-"))
        atexit.register(shutil.rmtree, SEEDS[name], ignore_errors=True)
        make(SEEDS[name])
    return SEEDS[name]


def _make_model(folder):
    from safetensors.torch import save_file

    from hwsearch.testing.tiny import tiny_denoiser

    denoiser = tiny_denoiser()
    sizes = denoiser.geometry
    config = {
        "model_type": "llama", "vocab_size": sizes.vocab_size, "hidden_size": sizes.hidden_size,
        "num_hidden_layers": sizes.num_layers, "num_attention_heads": sizes.num_heads,
        "num_key_value_heads": sizes.num_kv_heads, "head_dim": sizes.head_dim,
        "intermediate_size": sizes.intermediate_size, "rope_theta": 10000.0, "rms_norm_eps": 1e-6,
        "mask_token_id": denoiser.mask_token_id, "eos_token_id": [denoiser.end_token_id],
        "tie_word_embeddings": False,
        "hwsearch": {
            "prompt_template": "Q: {question}\nA:",
            "decoding": {"gen_length": 8, "block_length": 4, "steps": 8, "refresh_interval": 4},
        },
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    weights = {
        name: tensor.contiguous().clone() for name, tensor in denoiser.network.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors")
    denoiser.tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, "model_max_length": 512,
        "added_tokens_decoder": {"40": {"content": "<s>", "special": True}},
        "additional_special_tokens": ["<x>"],
        "chat_template": "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}",
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1))
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [1, 2], "mask_token_id": 3})
    )
    index = {
        "metadata": {"total_size": 1},
        "weight_map": dict.fromkeys(weights, "part.safetensors"),
    }
    (folder / "index.json").write_text(json.dumps(index))


def _model(name, indexed=False):
    def place(folder):
        shutil.copytree(seed("model", _make_model), folder / "model")
        if indexed:
            (folder / "model" / "index.json").rename(folder / "model" / name)
            (folder / "model" / "model.safetensors").rename(folder / "model" / "part.safetensors")
        return Place(folder / "model" / name, folder / "model")

    return place


def _read_config(folder):
    from hwsearch.denoisers.loading.config import read_config

    return read_config(folder)


def _read_model_files(folder):
    from hwsearch.denoisers.loading.model_folder import read_model_folder

    found = read_model_folder(folder)
    return None if found.chat is None else found.chat.ask("tom has 3 apples")


def _read_chat(folder):
    from hwsearch.denoisers.chat.template import read_chat_template

    found = read_chat_template(folder)
    return None if found is None else found.ask("tom has 3 apples")


def _read_weights(folder):
    import torch

    from hwsearch.denoisers.loading.checkpoint import read_tensors, weight_files

    return read_tensors(weight_files(folder), "llama", (), torch.float32, torch.device("cpu"))


def _make_gguf(folder):
    from hwsearch.bundle.gguf import export_gguf
    from hwsearch.compression import compress
    from hwsearch.plan import CompressionPlan
    from hwsearch.testing.tiny import tiny_denoiser

    denoiser = tiny_denoiser()
    plan = CompressionPlan.uniform(denoiser.num_layers, "fp16", "fp16", head="fp16")
    written = export_gguf(compress(denoiser, plan), folder / "out")
    shutil.copy(written, folder / "model.gguf")


def _gguf(folder):
    shutil.copy(seed("gguf", _make_gguf) / "model.gguf", folder)
    return Place(folder / "model.gguf")


def _read_gguf(path):
    from hwsearch.denoisers.loading.gguf.config import gguf_config
    from hwsearch.denoisers.loading.gguf.header import read_header

    return gguf_config(read_header(path))


def _make_bundle(folder):
    from hwsearch.bundle import write_bundle
    from hwsearch.compression import compress
    from hwsearch.decoding.kept import KeptShares
    from hwsearch.plan import CompressionPlan
    from hwsearch.testing.tiny import tiny_denoiser

    plan, asked = CompressionPlan.uniform(2), ("tom has 3 apples how many now ?",)
    write_bundle(
        compress(tiny_denoiser(), plan), KeptShares((1.0, 0.5)), folder / "b", questions=asked
    )


class Sealed(Place):
    """A file of a bundle, changed and sealed again."""

    def __call__(self, content):
        self.path.write_bytes(content)
        manifest = self.given / "bundle.json"
        if self.path == manifest:
            text = re.sub(
                rb'"seal": "[0-9a-f]*"', b'"seal": "' + b"0" * 64 + b'"', content, count=1
            )
        else:
            record = json.loads(manifest.read_bytes())
            record["sha256"][self.path.name] = hashlib.sha256(content).hexdigest()
            record["seal"] = "0" * 64
            text = json.dumps(record, indent=2).encode()
        digest = hashlib.sha256(text).hexdigest().encode()
        manifest.write_bytes(text.replace(b'"seal": "' + b"0" * 64, b'"seal": "' + digest, 1))
        return self.given


def _bundle(name, kind=Sealed):
    def place(folder):
        shutil.copytree(seed("bundle", _make_bundle) / "b", folder / "b")
        return kind(folder / "b" / name, folder / "b")

    return place


def _read_bundle(folder):
    from hwsearch.runtime.bundle import read_bundle

    return read_bundle(folder)


def _run_bundle(folder):
    from hwsearch.runtime.engine import Runtime

    return Runtime(folder, threads=1).generate("tom has 3 apples")


def _read_references(folder):
    from hwsearch.runtime.bundle import read_bundle
    from hwsearch.runtime.reference import read_references

    found = read_references(read_bundle(folder))
    return found and found.trajectories()


def _baselines(folder):
    row = {"key": "a", "family": "none", "method": "dense", "share": 0.0, "correct": "0110", "kl": 0.0,
           "size_bytes": 100, "speed_up": None}  # fmt: skip
    (folder / "rows.jsonl").write_text(
        "\n" + json.dumps(row) + "\n" + json.dumps(row | {"key": "b"})
    )
    return Place(folder / "rows.jsonl", folder)


def _read_baselines(folder):
    from hwsearch.jobs.baselines import read_rows

    return [row.interval for row in read_rows(folder).values() if row.correct]


def _npz(folder):
    np.savez_compressed(
        folder / "a.npz", a=np.arange(12).reshape(3, 4), b=np.ones((2, 2), np.float32)
    )
    return Place(folder / "a.npz")


def _read_npz(path):
    from hwsearch.files import FileKind
    from hwsearch.files.arrays import read_npz

    return read_npz(path, FileKind("archive", 1 << 20))


def _points(folder):
    np.save(folder / "points.npy", np.arange(12, dtype=np.float32).reshape(3, 4))
    return Place(folder / "points.npy")


def _read_points(path):
    from hwsearch.analytical.points import map_points

    return map_points(path)


READERS: dict[str, Reader] = {
    "plan": Reader(_plan, _read_plan, mutators.JSON),
    "decoding": Reader(
        _text("decoding.json", '{"commit": {"policy": "threshold", "threshold": 0.9}, "stop_at_end": true}'),
        _read_decoding, mutators.JSON,
    ),
    "study file": Reader(_text("study.toml", STUDY), _read_study),
    "device.toml": Reader(_device("apple-m2"), _read_device),
    "latency table": Reader(_table, _read_table),
    "whole-model runs": Reader(_runs, _read_runs),
    "sink profile": Reader(_profile, _read_profile, mutators.JSON),
    "JSONL": Reader(_text("problems.jsonl", JSONL), _read_jsonl, mutators.JSON),
    "llama-bench": Reader(_bench, _read_bench, mutators.JSON),
    "kit results": Reader(_results, _read_results),
    "kit results, sealed again": Reader(_sealed_results, _read_results),
    "baselines": Reader(_baselines, _read_baselines, mutators.JSON),
    "bundle.json": Reader(_bundle("bundle.json", Place), _read_bundle, mutators.JSON),
    "bundle.json, sealed again": Reader(_bundle("bundle.json"), _read_bundle, mutators.JSON),
    "graph, sealed again": Reader(_bundle("step.onnx"), _read_bundle, mutators.BYTES),
    "step graph, run": Reader(_bundle("step.onnx"), _run_bundle, mutators.BYTES),
    "refresh graph, run": Reader(_bundle("refresh.onnx"), _run_bundle, mutators.BYTES),
    "tokenizer of a bundle": Reader(_bundle("tokenizer.json"), _run_bundle, mutators.JSON),
    "references, sealed again": Reader(_bundle("reference.npz"), _read_references, mutators.BYTES),
    "config.json": Reader(_model("config.json"), _read_config, mutators.JSON),
    "tokenizer.json": Reader(_model("tokenizer.json"), _read_model_files, mutators.JSON),
    "tokenizer_config.json": Reader(_model("tokenizer_config.json"), _read_model_files, mutators.JSON),
    "generation_config.json": Reader(_model("generation_config.json"), _read_model_files, mutators.JSON),
    "safetensors": Reader(_model("model.safetensors"), _read_weights, mutators.BYTES),
    "safetensors index": Reader(
        _model("model.safetensors.index.json", indexed=True), _read_weights, mutators.JSON
    ),
    "GGUF": Reader(_gguf, _read_gguf, mutators.BYTES),
    "archive of arrays": Reader(_npz, _read_npz, mutators.BYTES),
    "points": Reader(_points, _read_points, mutators.BYTES),
}  # fmt: skip
