"""gsm-mini under onnxruntime-web in Node: what `run.py` times and checks there.

It wants Node 20.19 or later, and npm's packages in a folder that HWSEARCH_NODE_MODULES names, such as
`.venv-node/node_modules`, which `make test-web` fills. One thread, in processor time, since its machine was
never quiet.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from hwsearch.bundle.exporter import exporter_of
from hwsearch.decoding.answer import end_token_ids
from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.decoding.passes import PassCall, PassKind, PassRecord
from hwsearch.decoding.sampler import Generation
from hwsearch.jobs.profiling.machine import kit_formats, wanted_models, wanted_operators
from hwsearch.latency.kit.importer import import_results
from hwsearch.latency.kit.kinds import WEB_KIT
from hwsearch.latency.kit.writer import write_kit
from hwsearch.latency.timing.answers import AnswerTimes
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import Bundle, Runtime, read_bundle
from hwsearch.runtime.bundle import REFRESH_FILE, STEP_FILE, sha256_of, write_manifest
from hwsearch.runtime.providers import CPU, WEB
from hwsearch.runtime.web import write_runner
from hwsearch.study import Objective

MODEL = "gsm-mini"


def with_modules(folder: Path) -> Path:
    """A folder of scripts, given npm's packages."""
    modules = Path(os.environ["HWSEARCH_NODE_MODULES"]).resolve()
    (folder / "node_modules").symlink_to(modules, target_is_directory=True)
    return folder


def runner(folder: Path) -> Path:
    """A folder that runs bundles."""
    return with_modules(write_runner(folder))


def kit(folder: Path) -> Path:
    """The kit of the model."""
    formats = kit_formats(WEB, None)
    keys = wanted_operators(MODEL, None, None, formats=formats)
    models = wanted_models(MODEL, None, None, formats=formats)
    return with_modules(write_kit(keys, folder, models, WEB_KIT))


def time_device(tables: Path) -> None:
    """The device's folder, unless it is there: its operators and a few whole models, by a kit in Node."""
    if (tables / WEB.name).is_dir():
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = kit(Path(temporary) / "kit")
        results = folder / "results.csv"
        words = ["node", folder / "measure.mjs", "--processor-time", "-o", results]
        subprocess.run(words, check=True)
        import_results(results, WEB.name, tables)


def exported(objective: Objective, plan: CompressionPlan, folder: Path) -> Bundle:
    """The bundle of a plan, unless it is there."""
    if folder.is_dir():
        return read_bundle(folder)
    workbench = objective.workbench
    kept = workbench.keep(plan).kept
    return exporter_of(objective.denoiser).export(
        workbench.compress(plan), kept, folder, provider=WEB
    )


def answered(scripts: Path, bundles: list[Bundle], asked: list[str], rounds: int) -> Any:
    """What bench.mjs tells of bundles side by side."""
    questions = scripts / "questions.jsonl"
    lines = [json.dumps({"question": question}) + "\n" for question in asked]
    questions.write_text("".join(lines), encoding="utf-8")
    words = ["node", scripts / "bench.mjs", *(bundle.path for bundle in bundles)]
    words += ["--questions", questions, "--rounds", str(rounds), "--processor-time"]
    return json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)


def times(bundles: list[Bundle], found: Any) -> AnswerTimes:
    """The same as `time_answers` tells of Python's."""
    passes = {}
    for index, (bundle, one) in enumerate(zip(bundles, found, strict=True)):
        manifest = bundle.manifest
        samples = [(generation_of(bundle, answer), 0) for answer in one["answers"]]
        passes[str(index)] = PassCounts.of(manifest.decoding, samples, end_token_ids(manifest))
    samples_ms = {str(i): one["samples_ms"] for i, one in enumerate(found)}
    return AnswerTimes(samples_ms, passes, reference_ms=float("nan"))


def generation_of(bundle: Bundle, answer: Any) -> Generation:
    """An answer as the sampler gives it; what was asked reads as zeros."""
    decoding, before = bundle.manifest.decoding, answer["prompt_length"]
    length = before + decoding.gen_length
    tokens = np.zeros((1, length), dtype=np.int64)
    tokens[0, before:] = answer["tokens"]
    active = np.ones(1, dtype=bool)
    passes = (
        PassRecord(PassCall.of(decoding, PassKind(kind), before + offset, length), active)
        for kind, offset in answer["passes"]
    )
    written = np.zeros((1, decoding.gen_length), dtype=np.int64)
    return Generation(tokens, written, tuple(passes))


def same_tokens(bundle: Bundle, found: Any, asked: list[str], folder: Path) -> tuple[int, int]:
    """Tokens that Python's onnxruntime writes as well, and those of answers that are wholly the same.

    It is given the same graphs, but that products of blocks take float inputs as onnxruntime-web's do.
    """
    runtime = Runtime(natively(bundle, folder), threads=1)
    equal = []
    for question, answer in zip(asked, found["answers"], strict=True):
        written = np.array(runtime.generate_tokens(runtime.prompt(question)))
        equal.append(written == np.array(answer["tokens"]))
    return int(np.sum(equal)), int(np.all(equal, axis=1).sum())


def natively(bundle: Bundle, folder: Path) -> Bundle:
    """A copy for onnxruntime's own provider, whose products of blocks keep their inputs as floats."""
    folder.mkdir()
    manifest, changed = bundle.manifest, {}
    for name in manifest.sha256:
        os.link(bundle.path / name, folder / name)
    for name in (REFRESH_FILE, STEP_FILE):
        model = onnx.load(folder / name, load_external_data=False)
        for node in model.graph.node:
            kept = [one for one in node.attribute if one.name != "accuracy_level"]
            del node.attribute[:]
            node.attribute.extend(kept)
        (folder / name).unlink()
        onnx.save(model, folder / name)
        changed[name] = sha256_of(folder / name)
    update = {"runtime": CPU.name, "sha256": manifest.sha256 | changed}
    write_manifest(folder, manifest.model_copy(update=update))
    return read_bundle(folder)
