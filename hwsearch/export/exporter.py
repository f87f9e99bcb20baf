"""Write a compressed denoiser as a bundle: two ONNX graphs and all it takes to run them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np
import onnx

from hwsearch._version import __version__
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.passes import backend_of
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import InputError, PlanError
from hwsearch.export.quantise import quantise
from hwsearch.export.traced import TracedGraphs
from hwsearch.runtime.bundle import (
    FILES,
    PLAN_FILE,
    REFRESH_FILE,
    STEP_FILE,
    TOKENIZER_FILE,
    Bundle,
    Figures,
    Manifest,
    Reference,
    read_bundle,
    sha256_of,
    write_manifest,
)


class Exporter:
    """Exports plan after plan of one denoiser; its graphs are traced once.

    Args:
        denoiser: the uncompressed model.

    Raises:
        InputError: the graphs cannot express the model; see `check_exportable`.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self._network = check_exportable(denoiser)
        self._graphs: dict[int, TracedGraphs] = {}

    def export(
        self,
        compressed: CompressedDenoiser,
        kept_shares: Sequence[float],
        out: Path | str,
        *,
        questions: Sequence[str] = (),
        figures: Figures | None = None,
        overwrite: bool = False,
    ) -> Bundle:
        """Write a bundle folder: complete, or not at all.

        Args:
            compressed: the denoiser, its plan applied.
            kept_shares: for each layer the share of cached positions it keeps; 1.0 keeps all. Plain
                numbers are kept by the default rule.
            out: the folder to write; its parent is made where it is missing.
            questions: asked of torch now, so that onnxruntime's answers can be compared later.
            figures: what was predicted and measured so far; its size is filled in.
            overwrite: replace a folder that is there.

        Raises:
            InputError: `out` exists and `overwrite` is false.
            PlanError: `kept_shares` does not name one share in (0, 1] for each layer.
        """
        out = Path(out)
        _check_shares(compressed, kept_shares)
        if out.exists() and not overwrite:
            raise InputError(f"{out} exists already; choose another path, or allow to overwrite it")
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
            folder = Path(temporary) / "bundle"
            folder.mkdir()
            _write_files(self._traced(compressed), compressed, kept_shares, folder)
            write_manifest(folder, _manifest(compressed, kept_shares, folder, questions, figures))
            _move(folder, out, Path(temporary) / "replaced")
        return read_bundle(out)

    def _traced(self, compressed: CompressedDenoiser) -> TracedGraphs:
        assert compressed.denoiser.network is self._network, "an exporter belongs to one denoiser"
        block = compressed.decoding.block_length
        if compressed.float_network is not self._network:
            # pruned weights are in the graphs themselves
            return TracedGraphs(cast(Transformer, compressed.float_network), block)
        return self._graphs.setdefault(block, TracedGraphs(self._network, block))


def export(
    compressed: CompressedDenoiser,
    kept_shares: Sequence[float],
    out: Path | str,
    *,
    questions: Sequence[str] = (),
    figures: Figures | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write one bundle folder; see `Exporter.export`, which is quicker for several."""
    return Exporter(compressed.denoiser).export(
        compressed, kept_shares, out, questions=questions, figures=figures, overwrite=overwrite
    )


def check_exportable(denoiser: Denoiser) -> Transformer:
    """The network of a model that the two graphs can express.

    Raises:
        InputError: it has no cached passes, predicts a position from the one before (the step graph
            holds no hidden state from before the block), or norms its queries and keys.
    """
    network = denoiser.transformer
    refused = {
        "logit_shift": "shifted logits (Dream)",
        "qk_norm": "normed queries and keys (Qwen3)",
    }
    for field, meaning in refused.items():
        if getattr(network.geometry, field):
            raise InputError(
                f"model {denoiser.name!r} has {meaning}, which the exported graphs do not have; "
                "it can be searched and evaluated in torch, not exported"
            )
    return network


def _check_shares(compressed: CompressedDenoiser, kept_shares: Sequence[float]) -> None:
    layers = len(compressed.plan.layers)
    if len(kept_shares) != layers:
        raise PlanError(f"kept_shares has {len(kept_shares)} entries but the plan {layers} layers")
    for layer, share in enumerate(kept_shares):
        if not 0.0 < share <= 1.0:
            raise PlanError(f"layer {layer}: kept share must be above 0 and at most 1, got {share}")


def _write_files(
    graphs: TracedGraphs,
    compressed: CompressedDenoiser,
    kept_shares: Sequence[float],
    folder: Path,
) -> None:
    plan, kept = compressed.plan, KeptShares.of(kept_shares)
    refresh = graphs.refresh(kept.wants_mass, kept.wants_query)
    onnx.save(quantise(refresh, plan), folder / REFRESH_FILE)
    onnx.save(quantise(graphs.step(), plan), folder / STEP_FILE)
    (folder / PLAN_FILE).write_text(plan.to_json() + "\n", encoding="utf-8")
    compressed.denoiser.tokenizer.save(str(folder / TOKENIZER_FILE))


def _manifest(
    compressed: CompressedDenoiser,
    kept_shares: Sequence[float],
    folder: Path,
    questions: Sequence[str],
    figures: Figures | None,
) -> Manifest:
    denoiser = compressed.denoiser
    size = sum((folder / name).stat().st_size for name in FILES)
    return Manifest(
        model=denoiser.name,
        versions={"hwsearch": __version__}
        | {package: version(package) for package in ("onnxruntime", "torch", "onnx")},
        layers=denoiser.geometry.num_layers,
        kv_heads=denoiser.geometry.num_kv_heads,
        head_dim=denoiser.geometry.head_dim,
        mask_token_id=denoiser.mask_token_id,
        end_token_id=denoiser.end_token_id,
        prompt_template=denoiser.prompt_template,
        decoding=compressed.decoding,
        kept_shares=tuple(kept_shares),
        cache=KeptShares.of(kept_shares).policy,
        static=KeptShares.of(kept_shares).static,
        sha256={name: sha256_of(folder / name) for name in FILES},
        reference=_references(compressed, kept_shares, questions),
        figures=(figures or Figures()).model_copy(update={"size_bytes": size}),
    )


def _references(
    compressed: CompressedDenoiser, kept_shares: Sequence[float], questions: Sequence[str]
) -> tuple[Reference, ...]:
    """What torch generates, one question at a time, as the bundle will."""
    backend = backend_of(compressed.network, kept_shares)
    mask = compressed.denoiser.mask_token_id
    references = []
    for question in questions:
        prompt = compressed.denoiser.prompt(question)
        tokens = generate(backend, np.array([prompt]), compressed.decoding, mask)
        written = tuple(int(token) for token in tokens[0, len(prompt) :])
        references.append(Reference(question=question, tokens=written))
    return tuple(references)


def _move(folder: Path, out: Path, replaced: Path) -> None:
    """Put a finished folder in its place; one that is there goes aside first, and back on failure."""
    if not out.exists():
        folder.rename(out)
        return
    out.rename(replaced)
    try:
        folder.rename(out)
    except OSError:
        replaced.rename(out)
        raise
    shutil.rmtree(replaced) if replaced.is_dir() else replaced.unlink()
