"""What `hwsearch verify` asks of a bundle, one question a function. numpy and onnxruntime, no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hwsearch.decoding.batches import Given
from hwsearch.decoding.passes import PassCall, PassKind
from hwsearch.runtime import Runtime, measure_agreement
from hwsearch.runtime.bundle import Bundle
from hwsearch.runtime.divergence import MARGIN, measure_divergence
from hwsearch.runtime.probe import ProbeBackend, plain_difference
from hwsearch.runtime.providers import provider_of
from hwsearch.runtime.reference import References

#: Outputs of a plain session may differ this much from the product's, relative to their largest.
PLAIN_TOLERANCE = 1e-5

#: Questions whose passes are run in a plain session where a bundle has no frozen ones.
_ASKED = 4


@dataclass(frozen=True)
class Check:
    """One thing that was verified.

    Attributes:
        name: what.
        passed: whether it holds.
        found: what was found.
        rule: what was asked.
        decides: whether the bundle fails where it does not hold; else it is there to be read.
        figures: the numbers behind `found`, by name, unrounded.
    """

    name: str
    passed: bool
    found: str
    rule: str
    decides: bool = True
    figures: dict[str, float | None] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The check as plain data."""
        return asdict(self)


def prediction_checks(
    runtime: Runtime, references: References | None, backend: ProbeBackend
) -> list[Check]:
    """Does it predict what the simulation predicted on frozen passes, as far as rounding lets it?

    See `hwsearch.runtime.divergence`. A bundle without such passes, of an earlier version or
    exported without questions, fails: nothing is known of its predictions.
    """
    if references is None or not len(references):
        return [
            Check(
                "predictions",
                False,
                "nothing to compare: the bundle holds no reference states",
                "reference states, which an export with questions writes: export it again",
            )
        ]
    found = measure_divergence(runtime.bundle, references, backend)
    judged = f"{found.positions} masked positions of {found.passes} frozen passes"
    said = f"KL {found.kl:.2e} nats, {found.typical:.2f} times the floor in the median pass"
    return [
        Check(
            "predictions",
            found.is_close,
            "; ".join((f"{said}; {judged}", *found.broken[:3])),
            f"KL at most {found.most_kl:.2e} nats, {MARGIN:g} times the noise floor of "
            f"{found.floor_kl:.2e}, and {MARGIN:g} times it in the median pass",
            figures={
                "kl": _finite(found.kl),
                "noise_floor": _finite(found.floor_kl),
                "most_kl": _finite(found.most_kl),
                "typical": _finite(found.typical),
                "positions": found.positions,
            },
        ),
        Check(
            "choices",
            found.chooses_alike,
            f"argmax agrees at {found.same:.1%} of {judged}",
            f"at least {found.least_same:.1%}; rounding alone leaves {found.floor_same:.1%}",
            figures={"same": _finite(found.same), "noise_floor": _finite(found.floor_same)},
        ),
    ]


def prompt_check(runtime: Runtime, references: References) -> Check:
    """Does the tokenizer still make the prompts that torch was asked?"""
    manifest = runtime.bundle.manifest
    wrong = [
        reference.question
        for reference, path in zip(manifest.reference, references.trajectories(), strict=False)
        if runtime.given(reference.asked, manifest.asks) != path.given
    ]
    return Check(
        "prompts",
        not wrong,
        f"{len(wrong)} are other tokens" + (f", first {wrong[0]!r}" if wrong else ""),
        "tokenizer and template make the prompts of the export",
    )


def plain_checks(runtime: Runtime, backend: ProbeBackend) -> list[Check]:
    """Does every graph give anybody's session the product's numbers? Closes the product's first."""
    if not backend.seen:
        _look(runtime, backend)
    backend.close()  # a large bundle's sessions do not fit into memory side by side
    return [_plain(runtime.bundle, file, backend) for file in sorted(backend.seen)]


def _plain(bundle: Bundle, file: str, backend: ProbeBackend) -> Check:
    provider = provider_of(bundle.manifest.runtime)
    difference, output = plain_difference(bundle.path / file, backend.seen[file], provider)
    passed = difference <= PLAIN_TOLERANCE
    why = (
        ""
        if passed
        else "; whoever opens it without the product's options gets other answers (on a CPU without "
        "VNNI products of int8 weights saturate): export the bundle again"
    )
    return Check(
        f"plain session of {file}",
        passed,
        f"{output} differs by {difference:.1e} of its largest value{why}",
        f"every output within {PLAIN_TOLERANCE:g} of the product's session",
        figures={"difference": _finite(difference)},
    )


def _look(runtime: Runtime, backend: ProbeBackend) -> None:
    """Let a backend see a refresh and a step of some questions, or of made-up tokens."""
    manifest = runtime.bundle.manifest
    decoding, mask = manifest.decoding, manifest.mask_token_id
    asked = manifest.reference[:_ASKED]
    prompts = [runtime.given(one.asked, manifest.asks) for one in asked]
    for given in prompts or [Given(tuple(token for token in range(9) if token != mask))]:
        tokens = np.array([given.around([mask] * decoding.gen_length)], dtype=np.int64)
        start, behind = len(given.prompt), len(given.suffix)
        backend.begin()
        for kind in (PassKind.REFRESH, PassKind.STEP):
            call = PassCall.of(decoding, kind, start, tokens.shape[1], behind)
            run = backend.refresh_outputs if call.is_refresh else backend.step_outputs
            run(*call.arguments(tokens))


def generation_check(runtime: Runtime) -> Check:
    """How much of torch's answers onnxruntime repeats: to be read, not to be judged by."""
    found = measure_agreement(runtime)
    return Check(
        "generations",
        found.tokens > 0 and found.share == 1.0,
        f"{found.share:.1%} of torch's {found.tokens} tokens repeated"
        if found.tokens
        else "no answers to compare",
        "for information: one token chosen otherwise changes all that follow",
        decides=False,
        figures={"share": found.share if found.tokens else None, "tokens": found.tokens},
    )


def _finite(value: float) -> float | None:
    """A number as JSON has it."""
    return float(value) if np.isfinite(value) else None
