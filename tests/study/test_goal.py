"""A goal gets the same verdict from Python, from a study file and from flags."""

import itertools

import pytest
from click.testing import CliRunner

from hwsearch.cli.studies.search import command
from hwsearch.errors import InputError, StudyError, UnknownNameError
from hwsearch.study import Goal
from hwsearch.study.settings import StudySpec

KINDS = ("loss", "front", "energy", "energy-front")
TARGETS = ("target_ms", "target_ratio", "target_joules")
NUMBERS = (0.5, 0.0, -1.0)


def combinations():
    """Every kind with every subset of targets, with and without a limit of energy."""
    for kind, chosen, limit in itertools.product(
        KINDS, itertools.product((False, True), repeat=3), (None, 2.0)
    ):
        given = {name: 0.5 for name, is_given in zip(TARGETS, chosen, strict=True) if is_given}
        yield {"objective": kind, **given, **({"max_joules": limit} if limit else {})}
    for name, value in itertools.product(TARGETS, NUMBERS):
        yield {"objective": "energy" if name == "target_joules" else "front", name: value}
    for name, value in (("max_bytes", 0), ("max_bytes", 7), ("max_joules", 0.0)):
        yield {"target_ratio": 0.5, name: value}


def is_legal(given):
    """The rules, told once more and in another way."""
    kind, energy = given.get("objective", "loss"), given.get("objective", "").startswith("energy")
    targets = [name for name in TARGETS if name in given]
    if any(value <= 0 for name, value in given.items() if name != "objective"):
        return False
    if len(targets) > 1 or (not targets and not kind.endswith("front")):
        return False
    wrong = {"target_ms", "max_joules"} if energy else {"target_joules"}
    return not wrong & given.keys()


@pytest.mark.parametrize("given", combinations(), ids=str)
def test_every_edge_gives_the_same_verdict(given, tmp_path):
    path = tmp_path / "study.toml"
    lines = [f"{k} = {v if not isinstance(v, str) else repr(v)}" for k, v in given.items()]
    path.write_text("\n".join(['model = "m"', 'device = "d"', *lines]))
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    dry = ["--model", "m", "--device", "d", "--dry-run", *flags]
    shown = CliRunner().invoke(command, dry)
    if is_legal(given):
        goal = Goal(**given)
        assert StudySpec.resolve(path, {}).goal == goal
        assert shown.exit_code == 0
        path.write_text(shown.output)
        assert StudySpec.resolve(path, {}).goal == goal
        return
    with pytest.raises(InputError) as ours:
        Goal(**given)
    with pytest.raises(StudyError) as file:
        StudySpec.resolve(path, {})
    assert str(ours.value) in str(file.value), "one rule, one text"
    assert isinstance(shown.exception, StudyError)
    assert str(ours.value) in str(shown.exception)
    assert "\n" not in str(ours.value)


def test_what_is_misspelt_is_named_with_the_nearest_word():
    with pytest.raises(UnknownNameError, match="unknown objective 'enrgy'; did you mean 'energy'"):
        Goal(objective="enrgy", target_ratio=1.0)
    with pytest.raises(UnknownNameError, match="unknown setting 'target_rate'; did you mean"):
        Goal(target_rate=1.0)
