"""Write a compressed denoiser as a bundle: two ONNX graphs and all it takes to run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from importlib.metadata import version
from pathlib import Path

import onnxruntime

from hwsearch._version import __version__
from hwsearch.bundle.full_pass import TracedFullPass
from hwsearch.bundle.graphs.decomposed import written_out
from hwsearch.bundle.graphs.pieces import GraphLayout
from hwsearch.bundle.graphs.traced import TracedGraphs
from hwsearch.bundle.partial import PartialBundle, key_of
from hwsearch.bundle.reference import answers
from hwsearch.bundle.rounded import RoundedProducts
from hwsearch.bundle.weights import Graph, WeightsFile
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.compression.input_rounding import with_float_inputs
from hwsearch.decoding.answer import end_token_ids
from hwsearch.decoding.kept import KeptPlan, KeptShares
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.caching.digest import weights_digest
from hwsearch.denoisers.chat.asking import Question
from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import Network
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import InputError, PlanError
from hwsearch.files import refuse_existing
from hwsearch.forecast.store import save
from hwsearch.formats.linears.stored_linear import is_stored
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.bundle import (
    FORECAST_FILE,
    PLAN_FILE,
    REFERENCE_FILE,
    REFRESH_FILE,
    STEP_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    Bundle,
    Chat,
    Figures,
    Manifest,
    owner_of,
    read_bundle,
    sha256_of,
    write_manifest,
)
from hwsearch.runtime.providers import CPU, Provider


class Exporter:
    """Exports plan after plan of one denoiser; its graphs are traced once.

    Args:
        denoiser: the uncompressed model.

    Raises:
        InputError: the graphs cannot express the model; see `check_exportable`.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self._network = check_exportable(denoiser)
        self._graphs: dict[GraphLayout, TracedGraphs | TracedFullPass] = {}

    def export(
        self,
        compressed: CompressedDenoiser,
        kept: KeptShares,
        out: Path | str,
        *,
        questions: Sequence[Question] = (),
        figures: Figures | None = None,
        provider: Provider = CPU,
        overwrite: bool = False,
    ) -> Bundle:
        """Write a bundle folder: complete, or not at all. One that was killed is gone on with.

        Args:
            compressed: the denoiser, its plan applied.
            kept: for each layer the share of cached positions it keeps, and by which rule.
            out: the folder to write; its parent is made where it is missing.
            questions: asked of torch now; what it predicts on the way is what the bundle is verified
                by later. A bundle without any cannot be verified.
            figures: what was predicted and measured so far; its size is filled in.
            provider: what its graphs are written for, and will be run by.
            overwrite: replace a folder that is there.

        Raises:
            InputError: `out` exists and `overwrite` is false, or the disk has too little room.
            PlanError: `kept` does not name one share for each layer, or drops cached positions of a
                model that caches none; or the provider does not load a format of the plan.
        """
        out = Path(out)
        check_loads(provider, compressed.plan)
        check_foresees(provider, compressed)
        KeptPlan(compressed.plan, kept)  # refuses shares of other layers
        backend_of(compressed.network, kept)
        refuse_existing(out, overwrite)
        out.parent.mkdir(parents=True, exist_ok=True)
        key = key_of(compressed, kept, self._digest(compressed), provider.name)
        with PartialBundle(out, key) as partial:
            graphs = self._graphs_of(compressed, kept, provider)
            known = _write_files(graphs, compressed, partial)
            computed = as_computed(compressed, provider)
            manifest = _manifest(computed, kept, partial.folder, known, questions, figures)
            write_manifest(partial.folder, manifest.model_copy(update={"runtime": provider.name}))
            partial.move()
        return read_bundle(out)

    def _graphs_of(
        self, compressed: CompressedDenoiser, kept: KeptShares, provider: Provider
    ) -> dict[str, Graph]:
        """The graphs of a plan by file, as a provider wants them."""
        graphs, plan = self._traced(compressed), compressed.plan
        rounded = RoundedProducts.of(compressed.network)
        plain: dict[str, Graph] = {}
        if isinstance(graphs, TracedGraphs):
            plain[REFRESH_FILE] = graphs.refresh(kept.pruned, kept.signal)
            plain[STEP_FILE] = graphs.step()
        else:
            plain[REFRESH_FILE] = graphs.refresh()
        return {
            file: written_out(
                graphs.quantised(graph, plan, rounded),
                provider.decomposed,
                weights=not provider.hands_out_weights,
            )
            for file, graph in plain.items()
        }

    def _digest(self, compressed: CompressedDenoiser) -> str:
        """Digest of the float weights; that of the model's own is taken once for all its plans."""
        if compressed.float_network is self._network:
            return self._own_digest
        return weights_digest(compressed.float_network)

    @cached_property
    def _own_digest(self) -> str:
        return weights_digest(self._network)

    def _traced(self, compressed: CompressedDenoiser) -> TracedGraphs | TracedFullPass:
        assert compressed.denoiser.network is self._network, "an exporter belongs to one denoiser"
        layout = GraphLayout.of(compressed.decoding)
        if compressed.float_network is not self._network:
            # pruned weights are in the graphs themselves
            return traced(compressed.float_network, layout)
        if layout not in self._graphs:
            self._graphs[layout] = traced(self._network, layout)
        return self._graphs[layout]


@lru_cache(maxsize=1)
def exporter_of(denoiser: Denoiser) -> Exporter:
    """The exporter of a model, made once: tracing takes as long as a hundred exports after it.

    Raises as `Exporter` does.
    """
    return Exporter(denoiser)


def traced(network: Network, layout: GraphLayout) -> TracedGraphs | TracedFullPass:
    """The graphs of a network, cached passes where it has them."""
    if isinstance(network, Transformer):
        return TracedGraphs(network, layout)
    return TracedFullPass(network, layout)


def write_bundle(
    compressed: CompressedDenoiser,
    kept: KeptShares,
    out: Path | str,
    *,
    questions: Sequence[Question] = (),
    figures: Figures | None = None,
    provider: Provider = CPU,
    overwrite: bool = False,
) -> Bundle:
    """Write one bundle folder; see `Exporter.export`, which is quicker for several."""
    return Exporter(compressed.denoiser).export(
        compressed,
        kept,
        out,
        questions=questions,
        figures=figures,
        provider=provider,
        overwrite=overwrite,
    )


def check_exportable(denoiser: Denoiser) -> Network:
    """The network of a model that graphs can express.

    Raises:
        InputError: it is autoregressive, or computes in half precision.
    """
    network = denoiser.network
    stored = {id(module.weight) for module in network.modules() if is_stored(module)}
    for tensor in (*network.parameters(), *network.buffers()):
        if id(tensor) in stored:
            continue
        # onnxruntime's CPU has no kernels for it, and a wider copy would not compute what was searched
        if tensor.is_floating_point() and tensor.dtype.itemsize < 4:
            raise InputError(
                f"model {denoiser.name!r} computes in {str(tensor.dtype).removeprefix('torch.')}, but "
                "a bundle computes in float32; load it with dtype='float32', which keeps every weight "
                "of a half-precision file as it is"
            )
    if isinstance(network, Transformer) and network.geometry.causal:
        raise InputError(
            f"model {denoiser.name!r} is autoregressive: it writes one token a pass and keeps no "
            "block to step over, so it is there to compare with and not exported; "
            "export a masked-diffusion model"
        )
    return network


def check_loads(provider: Provider, plan: CompressionPlan) -> None:
    """Raise `PlanError` where a provider does not load a format of a plan."""
    wanted = {plan.head, *(fmt for layer in plan.layers for fmt in layer.formats.values())}
    missing = sorted(wanted - set(provider.formats))
    if missing:
        raise PlanError(
            f"{provider.name} does not load {', '.join(missing)}; it has "
            f"{', '.join(provider.formats)}"
        )


def check_foresees(provider: Provider, compressed: CompressedDenoiser) -> None:
    """Raise `PlanError` where a decoding foresees passes, and nobody there would.

    Nothing was fitted for the model, or the provider runs outside Python, where forecasts are not run.
    """
    if compressed.decoding.forecast is None:
        return
    words = compressed.decoding.forecast.words
    if provider.elsewhere:
        raise PlanError(f"{provider.name} foresees no passes ({words}); leave forecast out")
    if compressed.network.forecast is None:
        raise PlanError(
            f"{words}: no forecast was fitted; see `hwsearch.compression.foreseeing`, or let "
            "`hwsearch export` fit one"
        )


def as_computed(compressed: CompressedDenoiser, provider: Provider) -> CompressedDenoiser:
    """The compressed denoiser as a provider computes it."""
    if provider.rounds_inputs:
        return compressed
    return replace(compressed, network=with_float_inputs(compressed.network))


def _write_files(
    graphs: Mapping[str, Graph], compressed: CompressedDenoiser, partial: PartialBundle
) -> dict[str, str]:
    """Write all but references and manifest; checksums that are known by the way."""
    folder = partial.folder
    partial.check_room(graphs.values())
    with WeightsFile(folder / WEIGHTS_FILE, partial.journal) as weights:
        for name, graph in graphs.items():
            weights.save(graph, folder / name)
        known = {WEIGHTS_FILE: weights.sha256}
    (folder / PLAN_FILE).write_text(compressed.plan.to_json() + "\n", encoding="utf-8")
    if compressed.network.forecast is not None:
        owner = owner_of(compressed.plan, compressed.decoding)
        fitted = replace(compressed.network.forecast, belongs_to=owner)
        save(fitted, folder / FORECAST_FILE)
    compressed.denoiser.tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
    return known


def _manifest(
    compressed: CompressedDenoiser,
    kept: KeptShares,
    folder: Path,
    known: Mapping[str, str],
    questions: Sequence[Question],
    figures: Figures | None,
) -> Manifest:
    denoiser = compressed.denoiser
    asked, judged = answers(compressed, kept, questions)
    if judged is not None:
        judged.write(folder / REFERENCE_FILE)
    files = sorted(path.name for path in folder.iterdir())
    cached = isinstance(denoiser.network, Transformer)
    return Manifest(
        model=denoiser.name,
        versions={"hwsearch": __version__, "onnxruntime": onnxruntime.__version__}
        | {package: version(package) for package in ("torch", "onnx")},
        passes="cached" if cached else "full",
        layers=denoiser.num_layers,
        kv_heads=denoiser.geometry.num_kv_heads if cached else None,
        head_dim=denoiser.geometry.head_dim if cached else None,
        mask_token_id=denoiser.mask_token_id,
        end_token_id=denoiser.end_token_id,
        end_token_ids=tuple(sorted(end_token_ids(denoiser) - {denoiser.end_token_id})),
        prompt_template=denoiser.prompt_template,
        chat=_chat(denoiser.chat),
        decoding=compressed.decoding,
        kept_shares=kept.shares,
        cache=kept.policy,
        static=kept.static,
        sha256={name: known.get(name) or sha256_of(folder / name) for name in files},
        reference=asked,
        asks=denoiser.asks,
        figures=(figures or Figures()).model_copy(
            update={"size_bytes": sum((folder / name).stat().st_size for name in files)}
        ),
    )


def _chat(template: ChatTemplate | None) -> Chat | None:
    return None if template is None else Chat(source=template.source, tokens=dict(template.tokens))
