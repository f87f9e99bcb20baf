"""Readers of a bundle's files, each as it stands there, and changed and sealed again."""

from __future__ import annotations

import hashlib
import json
import re
import shutil

from tests.hardening import forms, mutators
from tests.hardening.places import Place, Reader, seed

ASKED = "tom has 3 apples how many now ?"


def _make_bundle(folder):
    from hwsearch.bundle import write_bundle
    from hwsearch.compression import compress
    from hwsearch.decoding.kept import KeptShares
    from hwsearch.plan import CompressionPlan
    from hwsearch.testing.tiny import tiny_denoiser

    plan = CompressionPlan.uniform(2)
    write_bundle(
        compress(tiny_denoiser(), plan), KeptShares((1.0, 0.5)), folder / "b", questions=(ASKED,)
    )


class Sealed(Place):
    """A file of a bundle, changed and sealed again."""

    def __init__(self, path, given=None):
        super().__init__(path, given)
        self.manifest = self.given / "bundle.json"
        self.record = json.loads(self.manifest.read_bytes())

    def __call__(self, content):
        self.path.write_bytes(content)
        if self.path == self.manifest:
            text = re.sub(
                rb'"seal": "[0-9a-f]*"', b'"seal": "' + b"0" * 64 + b'"', content, count=1
            )
        else:
            self.record["sha256"][self.path.name] = hashlib.sha256(content).hexdigest()
            self.record["seal"] = "0" * 64
            text = json.dumps(self.record, indent=2).encode()
        digest = hashlib.sha256(text).hexdigest().encode()
        self.manifest.write_bytes(text.replace(b'"seal": "' + b"0" * 64, b'"seal": "' + digest, 1))
        return self.given


def _bundle(name, kind=Sealed):
    def place(folder):
        shutil.copytree(seed("bundle", _make_bundle) / "b", folder / "b")
        return kind(folder / "b" / name, folder / "b")

    return place


def _make_forecast(folder):
    """A forecast of the method that holds the most arrays."""
    from hwsearch.forecast.fitting import fit
    from hwsearch.forecast.settings import Golden
    from hwsearch.forecast.store import save
    from tests.forecast.worlds import World

    world = World()
    settings = Golden(rank=4, coreset=20, least_agreement=0.0, least_r2=-1e9, threshold=1e-6)
    save(
        fit(settings, world.blocks(30), world.embeddings, belongs_to="abc"), folder / "forecast.npz"
    )


def _forecast(folder):
    shutil.copy(seed("forecast", _make_forecast) / "forecast.npz", folder)
    return Place(folder / "forecast.npz")


def _read_forecast(path):
    from hwsearch.forecast.store import load

    return load(path)


def _read_bundle(folder):
    from hwsearch.runtime.bundle import read_bundle

    return read_bundle(folder)


def _run_bundle(folder):
    from hwsearch.runtime.engine import Runtime

    return Runtime(folder, threads=1).generate("tom has 3 apples")


def _ask_bundle(folder):
    """What is read before a graph is: manifest, template and tokenizer."""
    from hwsearch.runtime.engine import Runtime

    runtime = Runtime(folder, threads=1, is_opened=False)
    return runtime.given("tom has 3 apples"), runtime.text([3, 5, 1])


def _read_references(folder):
    from hwsearch.runtime.bundle import read_bundle
    from hwsearch.runtime.reference import read_references

    bundle = read_bundle(folder)
    found = read_references(bundle)
    return found and list(found.passes(bundle))


GRAPHS = (*mutators.BYTES, *[forms.graph_changed] * 8)
ARCHIVES = (*mutators.BYTES, *[forms.archive_changed] * 8)

BUNDLES: dict[str, Reader] = {
    "bundle.json": Reader(_bundle("bundle.json", Place), _read_bundle, mutators.JSON),
    "bundle.json, sealed again": Reader(_bundle("bundle.json"), _ask_bundle, mutators.JSON),
    "graph, sealed again": Reader(_bundle("step.onnx"), _read_bundle, GRAPHS, share=0.5),
    "step graph, run": Reader(_bundle("step.onnx"), _run_bundle, GRAPHS, share=0.15),
    "refresh graph, run": Reader(_bundle("refresh.onnx"), _run_bundle, GRAPHS, share=0.15),
    "weights, run": Reader(_bundle("weights.bin"), _run_bundle, mutators.BYTES, share=0.1),
    "tokenizer of a bundle": Reader(
        _bundle("tokenizer.json"), _ask_bundle, mutators.JSON, share=0.25
    ),
    "references, sealed again": Reader(
        _bundle("reference.npz"), _read_references, ARCHIVES, share=0.25
    ),
    "fitted forecast": Reader(_forecast, _read_forecast, ARCHIVES, share=0.5),
}
