"""What a study file, or flags, say of the choices: shares, where a `SearchSpace` has sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from hwsearch.errors import StudyError
from hwsearch.plan import CacheRule, Rounding, WeightFormat
from hwsearch.schema import Frozen
from hwsearch.study.choices.linear_groups import LinearGroupNames
from hwsearch.study.choices.search_space import Scales, SearchSpace

if TYPE_CHECKING:
    from hwsearch.denoisers.denoiser import Denoiser
    from hwsearch.denoisers.described import DescribedModel
    from hwsearch.latency.devices.device import Device

Threshold = Annotated[float, Field(ge=0.0, le=1.0)]
Shares = Annotated[tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...], Field(min_length=1)]

#: Lists of choices that flags may give as comma-separated text.
LISTS = (
    "formats",
    "linear_groups",
    "thresholds",
    "kept_heads",
    "kept_channels",
    "rules",
    "early_scales",
    "late_scales",
    "boundaries",
)


class SpaceSpec(Frozen):
    """What a search may choose; None leaves it to model and device.

    Attributes:
        thresholds: sink thresholds, least pruning first.
        formats: weight formats, least compression first.
        linear_groups: the linears of a layer that take one format together; see `SearchSpace`.
        groups: which layers are treated alike: ``tied``, ``thirds`` or ``free``; or ``refine``, which
            goes from the first to the last.
        kept_heads: shares of the key / value heads that a layer may keep, 1.0 first.
        kept_channels: shares of the mlp's channels that a layer may keep, 1.0 first.
        rules: by which cached positions are kept, in the whole plan.
        early_scales: factors of all kept shares early in a generation.
        late_scales: and late.
        boundaries: unwritten shares of the generation at which early may end.
        decodings: what each changes of how the model's makers decode it, ``{}`` nothing; one alone
            is kept whatever else is searched.
        rounding: how all plans round weights: ``nearest`` or ``calibrated``.
    """

    thresholds: Annotated[tuple[Threshold, ...], Field(min_length=1)] | None = None
    formats: Annotated[tuple[WeightFormat, ...], Field(min_length=1)] | None = None
    linear_groups: LinearGroupNames | None = None
    groups: Literal["tied", "thirds", "free", "refine"] | None = None
    kept_heads: Shares | None = None
    kept_channels: Shares | None = None
    rules: Annotated[tuple[CacheRule, ...], Field(min_length=1)] | None = None
    early_scales: Scales | None = None
    late_scales: Scales | None = None
    boundaries: Annotated[tuple[Threshold, ...], Field(min_length=1)] | None = None
    decodings: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)] | None = None
    rounding: Rounding | None = None

    def offered(self, denoiser: Denoiser | DescribedModel, device: Device) -> SearchSpace:
        """The space for a model and a device. Raises as `SearchSpace.of` and `chosen`."""
        chosen = self.chosen(denoiser)
        if chosen.get("groups") == "refine":
            chosen["groups"] = "free"
        return SearchSpace.of(denoiser, device, **chosen)

    def chosen(self, denoiser: Denoiser | DescribedModel) -> dict[str, Any]:
        """What is said, as a `SearchSpace` of a model has it: sizes for shares.

        Raises:
            StudyError: two shares keep the same size.
            PlanError: a decoding cannot be.
            InputError: shares of heads or channels are given, and the model has none.
        """
        said = self.model_dump(exclude_none=True)
        for name in (name for name in SearchSpace.SIZES if name in said):
            g, shares = denoiser.geometry, said[name]
            counts = tuple(map(g.heads_of if name == "kept_heads" else g.channels_of, shares))
            if len(set(counts)) < len(counts):
                most = g.num_kv_heads if name == "kept_heads" else g.intermediate_size
                listed = ", ".join(str(count or most) for count in counts)
                raise StudyError(
                    f"[space].{name} must keep another size by each share; {shares} keep {listed} "
                    f"of {most}"
                )
            said[name] = counts
        if self.decodings is not None:
            own = denoiser.decoding
            changed = [own.changed(changes) for changes in self.decodings]
            said["decodings"] = tuple(None if found == own else found for found in changed)
        return said
