"""What a dry run says a search takes, held to what it then takes."""

import pytest

from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.latency.devices.device import load_device
from hwsearch.study import SearchSpace
from hwsearch.study.preparation import forecast
from hwsearch.study.sensitivities import PruningChoices, measure_sensitivities
from hwsearch.study.settings.values import StudySettings
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses import make_loss
from hwsearch.testing.tiny import tiny_denoiser

QUESTIONS = 5


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser()


def told(denoiser, space=None, **settings):
    space = space or SearchSpace.of(denoiser, load_device("cpu"))
    found = forecast(denoiser, space, StudySettings(target_ms=1.0, limit=QUESTIONS, **settings))
    stages = (*found.before, *found.each_trial, *found.after)
    return found, {stage.name: stage.passes for stage in stages}


def test_passes_are_those_that_are_made(denoiser):
    loss = make_loss("kl", denoiser, TaskChoice(limit=QUESTIONS).calibration_problems())
    space = SearchSpace.of(denoiser, load_device("cpu"))
    kept = KeptShares.keeping_all(denoiser.num_layers)
    dropping = {threshold: kept for threshold in space.thresholds if threshold < 1.0}
    estimated = measure_sensitivities(
        denoiser.network,
        loss,
        space.formats,
        groups=space.linear_groups,
        pruning=PruningChoices(dropping),
    )
    found, passes = told(denoiser, finalists=2, problems=7)
    assert found.pass_s > 0
    # prompts are taken to be of the median length
    assert passes["judging a plan"] == pytest.approx(loss.cost, rel=0.02)
    assert passes["recording states"] == pytest.approx(loss.written.cost, rel=0.02)
    assert passes["estimating sensitivities"] == pytest.approx(estimated.passes, rel=0.02)
    assert passes["calibrating sinks"] == QUESTIONS * denoiser.decoding.steps
    generation = passes["recording states"] / QUESTIONS
    assert passes["scoring finalists"] == pytest.approx(14 * generation)


def test_work_that_nothing_asks_for_is_not_told(denoiser):
    space = SearchSpace.of(denoiser, load_device("cpu"))
    plain = space.model_copy(update={"thresholds": (1.0,), "decodings": (None,)})
    _, passes = told(denoiser, plain, sensitivities=False)
    assert passes.keys() == {"recording states", "judging a plan"}
    _, passes = told(denoiser, plain, loss="nll")
    assert passes.keys() == {"judging a plan"}


def test_rounding_by_calibration_is_told_by_sizes(denoiser):
    space = SearchSpace.of(denoiser, load_device("cpu"))
    calibrated = space.model_copy(update={"rounding": "calibrated"})
    _, passes = told(denoiser, calibrated)
    assert passes["answering for calibration"] == passes["recording states"]
    fewer = calibrated.model_copy(update={"formats": calibrated.formats[:2]})
    both = (told(denoiser, one)[1]["rounding by calibration"] for one in (calibrated, fewer))
    assert next(both) == pytest.approx(3 * next(both)), "fp32 is not rounded"
    # wide matrices take longer than passes over them: the square of the inputs counts
    wide = tiny_denoiser(hidden=256, heads=4)
    assert told(wide, calibrated)[1]["rounding by calibration"] > passes["rounding by calibration"]


def test_memory_is_that_of_weights_and_their_rounded_copies(denoiser):
    found, _ = told(denoiser)
    assert found.held["weights"] == sum(4 * p.numel() for p in denoiser.network.parameters())
    assert found.held["weights rounded to 3 formats"] < 3 * found.held["weights"]
    lines = list(found.lines())
    assert any(line.startswith("memory: about") for line in lines)
    assert any(line.split()[:3] == ["judging", "a", "plan"] for line in lines)


def test_layers_are_timed_for_all_of_a_model():
    gsm_mini = load_denoiser("gsm-mini")
    assert told(gsm_mini)[0].pass_s > 0
