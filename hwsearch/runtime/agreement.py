"""How much of what torch wrote before the export does onnxruntime write again?

All of it for a float model, and less for a quantised one, however right its files are: see
`hwsearch.runtime.divergence`, which asks the better question.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsearch.errors import VerificationError
from hwsearch.runtime.engine import Runtime


@dataclass(frozen=True)
class Agreement:
    """How much of torch's generations onnxruntime repeats.

    Attributes:
        same_tokens: equal tokens, position by position.
        tokens: tokens compared.
        first_difference: the first question answered otherwise, or None.
    """

    same_tokens: int
    tokens: int
    first_difference: str | None

    @property
    def share(self) -> float:
        """Share of equal tokens; 0.0 where there was nothing to compare."""
        return self.same_tokens / self.tokens if self.tokens else 0.0


def measure_agreement(runtime: Runtime) -> Agreement:
    """Generate every reference question of the runtime's bundle again, and compare."""
    same = total = 0
    first = None
    for reference in runtime.bundle.manifest.reference:
        prompt = runtime.given(reference.asked, runtime.bundle.manifest.asks)
        written = runtime.generate_tokens(prompt)
        equal = sum(a == b for a, b in zip(written, reference.tokens, strict=True))
        if equal < len(reference.tokens) and first is None:
            first = reference.question
        same, total = same + equal, total + len(reference.tokens)
    return Agreement(same, total, first)


def check_agreement(runtime: Runtime, least: float) -> Agreement:
    """`measure_agreement`, and `VerificationError` where the share is below `least`, or of nothing."""
    agreement = measure_agreement(runtime)
    if not agreement.tokens:
        raise VerificationError(
            f"{runtime.bundle.path}: holds no answers of torch to compare with; "
            "export the bundle with questions"
        )
    if agreement.share < least:
        raise VerificationError(
            f"{runtime.bundle.path}: onnxruntime repeats {agreement.share:.1%} of torch's tokens, "
            f"at least {least:.1%} are asked for; first difference at "
            f"{agreement.first_difference!r}"
        )
    return agreement
