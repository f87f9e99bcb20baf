"""Results that are kept: found again by all they depend on, and by nothing else."""

import dataclasses
import os
import pickle

import numpy as np
import pytest
import torch

from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.caching import results as result_cache
from hwsearch.denoisers.caching.folder import CACHE_VARIABLE
from hwsearch.denoisers.caching.results import remembered
from hwsearch.plan import CompressionPlan
from hwsearch.sinks import calibrate_sinks
from hwsearch.tasks.losses import make_loss
from hwsearch.tasks.problem import Problem
from hwsearch.testing.tiny import tiny_denoiser
from tests.denoisers.test_own import character_denoiser

PROBLEMS = [Problem(f"tom has {n} apples ?", f"#### {n}") for n in (3, 4)]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "results"


class Counted:
    """Makes a result, and counts how often."""

    def __init__(self, result):
        self.result, self.times = result, 0

    def __call__(self):
        self.times += 1
        return self.result


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser()


def test_a_result_is_made_once(denoiser):
    make = Counted({"a": [np.arange(3), torch.ones(2), (1, "b", 2.5, True, None)]})
    first, again = (remembered("things", denoiser, ["x"], make) for _ in range(2))
    assert make.times == 1
    assert np.array_equal(again["a"][0], first["a"][0]) and again["a"][2] == first["a"][2]
    assert torch.equal(again["a"][1], first["a"][1])


def test_it_is_another_by_kind_parts_weights_settings_and_code(denoiser, monkeypatch):
    make = Counted(1.0)
    other = tiny_denoiser()
    with torch.no_grad():
        other.network.lm_head.weight[0, 0] += 1
    again = [
        ("things", denoiser, ["x"]),
        ("others", denoiser, ["x"]),
        ("things", denoiser, ["y"]),
        ("things", denoiser, ["x", ""]),
        ("things", other, ["x"]),
        ("things", dataclasses.replace(denoiser, mask_token_id=3), ["x"]),
        ("things", dataclasses.replace(denoiser, options={"dtype": "bfloat16"}), ["x"]),
    ]
    for key in again:
        remembered(*key, make)
    monkeypatch.setattr(result_cache, "code_digest", lambda: "of a later version")
    remembered(*again[0], make)
    assert make.times == len(again) + 1


def test_a_model_of_ones_own_code_is_never_remembered(folder):
    make = Counted(1.0)
    for _ in range(2):
        remembered("things", character_denoiser(), ["x"], make)
    assert make.times == 2 and not folder.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-40]),
        lambda path: path.write_bytes(b"\x80\x04K\x01."),
        lambda path: path.write_bytes(pickle.dumps(Harmful())),
        lambda path: torch.save(Harmful(), path),
    ],
)
def test_a_damaged_result_is_made_again_and_runs_nothing(denoiser, folder, damage, monkeypatch):
    monkeypatch.delenv("HARMED", raising=False)
    make = Counted(np.arange(3))
    remembered("things", denoiser, ["x"], make)
    (path,) = folder.rglob("*.pt")
    damage(path)
    assert np.array_equal(remembered("things", denoiser, ["x"], make), np.arange(3))
    assert make.times == 2 and "HARMED" not in os.environ
    remembered("things", denoiser, ["x"], make)
    assert make.times == 2, "what is made again is kept again"


class Harmful:
    def __reduce__(self):
        return os.putenv, ("HARMED", "1")


def test_a_folder_that_may_not_be_written_keeps_nothing_and_stops_nobody(
    denoiser, monkeypatch, tmp_path
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    make = Counted(1.0)
    assert [remembered("things", denoiser, ["x"], make) for _ in range(2)] == [1.0, 1.0]
    assert make.times == 2


def test_what_was_not_used_for_longest_makes_room(denoiser, folder, monkeypatch):
    values = {name: Counted(torch.zeros(4096)) for name in "abc"}
    for place, name in enumerate("ab"):
        remembered("things", denoiser, [name], values[name])
        for path in folder.rglob("*.pt"):
            os.utime(path, (path.stat().st_atime, 1000 + place))
    remembered("things", denoiser, ["a"], values["a"])  # used: now b is the oldest
    monkeypatch.setattr(result_cache, "MOST_BYTES", 2 * next(folder.rglob("*.pt")).stat().st_size)
    for name in "cab":
        remembered("things", denoiser, [name], values[name])
    assert {name: value.times for name, value in values.items()} == {"a": 1, "b": 2, "c": 1}


def test_losses_and_sinks_that_are_read_are_those_that_were_made(denoiser, monkeypatch):
    plan = CompressionPlan.uniform(denoiser.num_layers, "w8", "w4")
    from hwsearch.compression import compress

    network = compress(denoiser, plan).network
    kept = KeptShares.keeping_all(denoiser.num_layers)
    made, sinks = make_loss("kl", denoiser, PROBLEMS), calibrate_sinks(denoiser, ["how many ?"])
    monkeypatch.setattr("hwsearch.tasks.losses.kl.record_states", None)
    monkeypatch.setattr("hwsearch.sinks.profile._calibrated", None)
    read = make_loss("kl", denoiser, PROBLEMS)
    assert read.loss(network, kept) == made.loss(network, kept) and read.judges == made.judges
    assert [p.passes for p in read.written.problems] == [p.passes for p in made.written.problems]
    assert calibrate_sinks(denoiser, ["how many ?"]) == sinks
