"""A study under one name stays about one thing, by content."""

import copy
import dataclasses
import logging

import optuna
import pytest
import torch

from hwsearch.denoisers.caching.digest import settings_digest, weights_digest
from hwsearch.errors import InputError, StudyError
from hwsearch.latency.devices.device import Calibration, Line
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.study import Goal, SearchSpace, load_study, prepare
from hwsearch.study.preparation import reopen
from hwsearch.study.records import identity as identities
from hwsearch.study.run import run_study
from hwsearch.study.searching import search
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser
from tests.study.test_run import QUESTIONS, WORK

LINE = Line(intercept_ms=0.0, slope=1.0, mape=0.0, plans=2)
SPACE = SearchSpace(num_layers=2, thresholds=(1.0,), formats=("fp32", "w4"), groups="tied")


def device_of(denoiser, factor=1.0, **info):
    device = formula_device(denoiser.geometry, WORK)
    samples = {
        key: tuple(tuple(factor * us for us in session) for session in sessions)
        for key, sessions in device.costs.samples.items()
    }
    told = device.info.model_copy(update=info)
    return dataclasses.replace(device, costs=LatencyTable(samples), info=told)


def make(denoiser=None, device=None, questions=QUESTIONS):
    denoiser = denoiser or tiny_denoiser()
    device = device or device_of(denoiser)
    return prepare(denoiser, SPACE, device, WORK, Goal(target_ratio=1.0), list(questions))


def go_on(objective, storage, name="s"):
    return run_study(objective, trials=3, name=name, storage=storage, sampler="random")


def changed(denoiser, **fields):
    return dataclasses.replace(denoiser, **fields)


def one_weight(denoiser):
    network = copy.deepcopy(denoiser.network)
    network.model.layers[1].mlp.down_proj.weight[3, 5] += 1e-4
    return changed(denoiser, network=network)


@pytest.fixture
def begun(tmp_path):
    storage = str(tmp_path / "s.db")
    go_on(make(), storage)
    return storage


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (lambda: make(tiny_denoiser(seed=1)), "differs: the weights of the model"),
        (lambda: make(one_weight(tiny_denoiser())), "differs: the weights of the model"),
        (
            lambda: make(changed(tiny_denoiser(), prompt_template="q {question} a")),
            "the settings of the model .*; the calibration questions",
        ),
        (lambda: make(changed(tiny_denoiser(), end_token_id=2)), "the settings of the model"),
        (lambda: make(questions=QUESTIONS[:1]), "differs: the calibration questions"),
        (lambda: make(questions=QUESTIONS[::-1]), "differs: the calibration questions"),
        (lambda: make(device=device_of(tiny_denoiser(), 1.01)), "the device figures"),
        (lambda: make(device=device_of(tiny_denoiser(), threads=2)), "the device figures"),
        (
            lambda: make(
                device=device_of(
                    tiny_denoiser(),
                    calibrations=(Calibration(model="tiny", refresh=LINE, step=LINE),),
                )
            ),
            "the device figures",
        ),
    ],
)
def test_something_else_under_the_same_name_is_refused_by_name(begun, other, named):
    with pytest.raises(InputError, match=named) as error:
        go_on(other(), begun)
    assert "study s was searched with something else" in str(error.value)
    assert "give another --name" in str(error.value)
    assert len(load_study("s", begun).frame()) == 3, "nothing was tried"


def test_another_loss_or_code_is_refused_in_words(begun, monkeypatch):
    monkeypatch.setattr(identities, "__version__", "99.0")
    monkeypatch.setattr(identities, "LOSS_SCHEME", 7)
    with pytest.raises(
        InputError, match=r"the loss \(kl \(scheme 2\), now kl \(scheme 7\)\)"
    ) as error:
        go_on(make(), begun)
    assert "now hwsearch 99.0" in str(error.value)


def test_what_says_nothing_of_the_content_may_change(begun):
    denoiser = changed(tiny_denoiser(), name="/elsewhere/tiny")
    others = Calibration(model="other", refresh=LINE, step=LINE)
    device = device_of(denoiser, description="in other words", calibrations=(others,))
    moved = make(denoiser, dataclasses.replace(device, folder=begun))
    study = go_on(moved, begun)
    assert study.record.model == "/elsewhere/tiny", "it is opened there from now on"
    assert len(study.frame()) == 3


def test_a_study_reopened_for_export_must_still_be_of_its_model(begun):
    study, denoiser = load_study("s", begun), tiny_denoiser()
    assert reopen(study, denoiser, device_of(denoiser), QUESTIONS).content == make().content
    for other, named in (
        ((tiny_denoiser(seed=1), device_of(denoiser), QUESTIONS), "the weights"),
        ((denoiser, device_of(denoiser, 2.0), QUESTIONS), "the device figures"),
        ((denoiser, device_of(denoiser), QUESTIONS[:1]), "the calibration questions"),
    ):
        with pytest.raises(InputError, match=named):
            reopen(study, *other)


def test_a_study_that_refines_another_must_be_of_the_same_model(begun, tmp_path):
    coarse = load_study("s", begun)
    with pytest.raises(StudyError, match=r"study s cannot be refined: .* the weights of the model"):
        run_study(
            make(tiny_denoiser(seed=1)),
            trials=1,
            name="fine",
            storage=str(tmp_path / "fine.db"),
            refine=coarse,
        )


def test_an_older_study_goes_on_with_a_warning_and_is_known_from_then_on(begun, caplog):
    optuna_study = load_study("s", begun).optuna
    storage = optuna_study._storage._backend
    study_id = optuna_study._study_id
    with storage.scoped_session() as session:
        from optuna.storages._rdb import models

        session.query(models.StudyUserAttributeModel).filter_by(
            study_id=study_id, key=identities.CONTENT
        ).delete()
        session.commit()
    with caplog.at_level(logging.WARNING):
        go_on(make(), begun)
    assert "does not say of which weights" in caplog.text
    assert "its first 3 trials are" in caplog.text
    with pytest.raises(InputError, match="the weights of the model"):
        go_on(make(tiny_denoiser(seed=1)), begun)


def test_other_weights_are_refused_before_anything_is_prepared(begun, monkeypatch):
    denoiser = tiny_denoiser(seed=1)
    monkeypatch.setattr("hwsearch.study.searching.prepare", None)
    with pytest.raises(InputError, match="the weights of the model"):
        search(
            denoiser, SPACE, device_of(denoiser), target_ratio=1.0, prompt_length=WORK.prompt_length,
            questions=QUESTIONS, trials=3, name="s", storage=begun,
        )  # fmt: skip


def test_a_digest_is_of_values_types_and_names():
    plain = torch.nn.Linear(4, 4)
    twin = torch.nn.Linear(4, 4)
    twin.load_state_dict(plain.state_dict())
    assert weights_digest(plain) == weights_digest(twin)
    seen = {weights_digest(plain)}
    for other in (
        torch.nn.Sequential(plain),
        torch.nn.Linear(4, 4),
        copy.deepcopy(plain).to(torch.bfloat16),
        copy.deepcopy(plain).double(),
    ):
        seen.add(weights_digest(other))
    transposed = copy.deepcopy(plain)
    transposed.weight.data = plain.weight.data.T
    seen.add(weights_digest(transposed))
    assert len(seen) == 6
    strided = copy.deepcopy(plain)
    strided.weight.data = plain.weight.data.T.contiguous().T
    assert weights_digest(strided) == weights_digest(plain), "how it lies in memory is no content"


def test_a_digest_sees_every_single_value():
    module = torch.nn.Linear(3, 2)
    digests = {weights_digest(module)}
    for parameter in module.parameters():
        for index in range(parameter.numel()):
            other = copy.deepcopy(module)
            name = "weight" if parameter.dim() == 2 else "bias"
            flat = other.get_parameter(name).data.view(-1)
            flat[index] = torch.nextafter(flat[index], torch.tensor(9.0))
            digests.add(weights_digest(other))
    assert len(digests) == 1 + sum(p.numel() for p in module.parameters())


def test_settings_hold_sizes_and_vocabulary():
    plain = tiny_denoiser()
    assert settings_digest(plain) == settings_digest(tiny_denoiser(seed=5))
    assert settings_digest(plain) != settings_digest(tiny_denoiser(grouped=True, heads=4))
    assert settings_digest(plain) != settings_digest(changed(plain, mask_token_id=2))


def test_a_calibration_is_known_by_sizes_wherever_the_model_lies():
    lines = {"refresh": LINE, "step": LINE}
    info = device_of(
        tiny_denoiser(), calibrations=(Calibration(model="m", sizes="abc", **lines),)
    ).info
    assert info.calibration("m", "abc") is info.calibration("elsewhere", "abc") is not None
    assert info.calibration("elsewhere", "xyz") is None
    with pytest.raises(InputError, match="'m' of other sizes"):
        info.calibration("m", "xyz")


def test_trials_are_of_this_study_alone(begun):
    names = optuna.get_all_study_names(f"sqlite:///{begun}")
    assert names == ["s"]


def test_content_that_nobody_of_ours_kept_is_refused():
    assert identities.checked_content(None, "run.json") is None
    assert identities.checked_content({"weights": "ab"}, "run.json") == {"weights": "ab"}
    for kept in ([], "ab", {"weights": 3}, True):
        with pytest.raises(InputError, match=r"run\.json: content must be texts by name"):
            identities.checked_content(kept, "run.json")
