"""Whether a model can take what a space offers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from hwsearch.denoisers.chat.asking import Question
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import StudyError
from hwsearch.sinks import SinkProfile, calibrate_sinks
from hwsearch.study.choices.linear_groups import check_linear_groups
from hwsearch.study.choices.search_space import WHOLE, SearchSpace
from hwsearch.study.preparation.calibration import SINK_QUESTIONS
from hwsearch.tasks.losses import Loss

#: Losses that see each pass without those before it.
ONE_REFRESH = ("nll", "digits")


def check_model(space: SearchSpace, denoiser: Denoiser, loss_function: Loss | None = None) -> None:
    """Refuse sizes and phases that a model, or a loss, does not know.

    Raises:
        StudyError: heads or channels are offered that the model does not have; phases, and the
            loss judges every pass as a generation's first; linears are told apart that the model
            names as one group; or an autoregressive model shall be changed otherwise than by formats.
    """
    if denoiser.is_causal:
        check_causal(space, denoiser)
    check_linear_groups(denoiser, space.linear_groups)
    if space.sizes and not denoiser.is_cached:
        raise StudyError(
            f"model {denoiser.name!r} is not in Llama form, so it has no heads or channels to search: "
            "leave [space].kept_heads and kept_channels out"
        )
    most = {}
    if space.sizes:
        geometry = denoiser.geometry
        most = {"kept_heads": geometry.num_kv_heads, "kept_channels": geometry.intermediate_size}
    for name, there in most.items():
        for kept in getattr(space, name):
            if kept is not None and kept > there:
                raise StudyError(f"[space].{name} must be at most {there}; got {kept}")
    phased = {f"{WHOLE}early_scale", f"{WHOLE}late_scale"} & space.plan_dials.keys()
    if phased and loss_function is not None and loss_function.name in ONE_REFRESH:
        raise StudyError(
            f"loss {loss_function.name!r} judges every pass as the first of a generation, so it cannot tell "
            "early from late: take the loss kl or agreement, or leave early_scales and late_scales out"
        )


def check_causal(space: SearchSpace, denoiser: Denoiser) -> None:
    """Refuse whatever is not a format of an autoregressive model.

    Its cached positions are not chosen by any rule here, it is decoded one token a pass, and its
    weights would be pruned by what masked answers show.

    Raises:
        StudyError: something else is offered.
    """
    plain = {"thresholds": (1.0,), **dict.fromkeys(SearchSpace.SIZES, (None,))}
    names = ("thresholds", *SearchSpace.SIZES, *SearchSpace.CACHE.values(), "decodings")
    defaults = {name: field.default for name, field in SearchSpace.model_fields.items()} | plain
    offered = [name for name in names if getattr(space, name) != defaults[name]]
    if offered:
        raise StudyError(
            f"model {denoiser.name!r} is autoregressive, so formats are all there is to search; leave "
            f"{', '.join(f'[space].{name}' for name in offered)} out"
        )


def sinks_for_space(
    denoiser: Denoiser, space: SearchSpace, questions: Sequence[Question]
) -> SinkProfile:
    """The sink profile of a model; one that caches nothing, is autoregressive or shall keep all, keeps all.

    Calibration takes a pass a token, which a large model has no time for unless it is needed.

    Raises:
        StudyError: thresholds below 1 are offered, and the model caches nothing.
    """
    if denoiser.is_causal or space.keeps_all:
        refreshes = denoiser.decoding.scheduled().refreshes
        return SinkProfile.keeping_all(denoiser.num_layers, refreshes)
    if denoiser.is_cached:
        return sink_profile(denoiser, tuple(questions[:SINK_QUESTIONS]))
    if set(space.thresholds) != {1.0}:
        raise StudyError(
            f"model {denoiser.name!r} caches no positions, so it has no sink thresholds to search: "
            f"[space].thresholds must be [1.0]; got {list(space.thresholds)}"
        )
    return SinkProfile.keeping_all(denoiser.num_layers)


@lru_cache(maxsize=1)
def sink_profile(denoiser: Denoiser, questions: tuple[Question, ...]) -> SinkProfile:
    """As `calibrate_sinks`, once: timing a machine and searching for it ask for the same profile."""
    return calibrate_sinks(denoiser, questions)
