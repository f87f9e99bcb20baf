"""Which linears of a layer a search gives one format together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from hwsearch.errors import InputError, StudyError
from hwsearch.formats.catalog import format_of
from hwsearch.plan import LINEAR_GROUPS, SHORT_FORMS, WeightFormat, groups_of

if TYPE_CHECKING:
    from hwsearch.denoisers.denoiser import Denoiser
    from hwsearch.denoisers.described import DescribedModel

#: As plans had them before there were four.
TOGETHER = tuple(SHORT_FORMS)

#: The mlp's last product by itself: inputs that are rounded whole tell it from the others.
DOWN_APART = ("attention", "gate_up", "down")


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names in the order of a pass. Raises `ValueError` unless they stand for every group, once each."""
    groups = [group for name in names for group in groups_of(name)]
    if sorted(groups) != sorted(LINEAR_GROUPS):
        raise ValueError(
            "linear groups are attention (or qkv and out) and mlp (or gate_up and down), each once"
        )
    return tuple(sorted(names, key=lambda name: LINEAR_GROUPS.index(groups_of(name)[0])))


#: Linear groups of a layer that take one format each: all of them, short forms for two at once.
LinearGroupNames = Annotated[tuple[str, ...], AfterValidator(_each_once)]


def offered_linear_groups(
    denoiser: Denoiser | DescribedModel, formats: Iterable[WeightFormat]
) -> tuple[str, ...]:
    """`DOWN_APART` where a format rounds inputs whole and the model names ``down``, else `TOGETHER`."""
    whole = any(format_of(fmt).rounds_inputs_whole for fmt in formats)
    return DOWN_APART if whole and _tells(denoiser, DOWN_APART) else TOGETHER


def check_linear_groups(denoiser: Denoiser | DescribedModel, groups: tuple[str, ...]) -> None:
    """Raise `StudyError` where a model names as one group what a space tells apart."""
    from hwsearch.denoisers.described import DescribedModel  # a finished study needs no tokenizer

    if isinstance(denoiser, DescribedModel):
        return  # a Llama-form transformer names each group
    try:
        denoiser.network.linear_groups().joined(groups)
    except InputError as error:
        raise StudyError(f"[space].linear_groups: {error}") from error


def _tells(denoiser: Denoiser | DescribedModel, groups: tuple[str, ...]) -> bool:
    try:
        check_linear_groups(denoiser, groups)
    except StudyError:
        return False
    return True
