import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hwsearch.cli import main as cli
from hwsearch.errors import InputError
from hwsearch.report.proxies import COLUMNS, careful, rank, read_losses
from hwsearch.tasks.losses import LOSSES
from hwsearch.tasks.problem import Problem
from hwsearch.testing.tiny import tiny_denoiser

SCRIPT = Path(__file__).parents[2] / "studies" / "proxies" / "run.py"


def rows(losses, solved, proxy="kl"):
    pairs = enumerate(zip(losses, solved, strict=True))
    return pd.DataFrame(
        [(i, proxy, loss, 10.0, 0.1, right, 100) for i, (loss, right) in pairs], columns=COLUMNS
    )


def test_a_loss_that_orders_plans_as_accuracy_does_comes_first():
    rng = np.random.default_rng(0)
    solved = np.arange(40)
    noise = rows(rng.random(40), solved, "noise")
    perfect = rows(1.0 / (1 + solved), solved, "perfect")
    first, second = rank(pd.concat([noise, perfect]), resamples=200)
    assert (first.proxy, second.proxy) == ("perfect", "noise")
    assert first.spearman == pytest.approx(1.0)
    assert first.kendall == pytest.approx(1.0)
    low, high = second.spearman_interval
    assert low < second.spearman < high
    assert low < 0.2
    assert first.behind_interval == (0.0, 0.0)
    assert second.behind_interval[0] > 0.3


def test_plans_of_little_accuracy_can_be_left_out():
    frame = rows([5.0, 4.0, 3.0, 2.0, 1.0], [10, 50, 80, 90, 85])
    assert rank(careful(frame, 0.8), resamples=50)[0].plans == 3
    with pytest.raises(InputError, match="1 plans solve at least 90%"):
        careful(frame, 0.9)


def test_proxies_are_compared_on_the_same_plans():
    with pytest.raises(InputError, match="kl and other were measured on different plans"):
        rank(pd.concat([rows([1.0] * 5, range(5)), rows([1.0] * 4, range(4), "other")]))


def test_a_loss_that_is_as_good_cannot_be_told_apart():
    rng = np.random.default_rng(1)
    solved = np.arange(40)
    pair = [rows(-solved - 8 * rng.random(40), solved, name) for name in ("a", "b")]
    low, high = rank(pd.concat(pair), resamples=300)[1].behind_interval
    assert low < 0 < high


def test_a_loss_that_says_nothing_has_no_rank_correlation():
    constant = rank(rows([1.0] * 10, range(10)), resamples=50)[0]
    assert (constant.spearman, constant.kendall) == (0.0, 0.0)


def test_a_table_that_is_missing_or_short_is_said(tmp_path):
    with pytest.raises(InputError, match=r"studies/proxies/run\.py"):
        read_losses(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text("plan,proxy\n0,kl\n")
    with pytest.raises(InputError, match="lacks the columns cost_passes, loss"):
        read_losses(tmp_path / "bad.csv")
    with pytest.raises(InputError, match="at least 3 plans, got 2"):
        rank(rows([0.1, 0.2], [1, 2]))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1,kl,x,1,1,5,9", "row 3: loss must be a number"),
        ("1,kl,0.5,1,1,5,0", "row 3: problems must be a number from 1"),
        ("1,,0.5,1,1,5,9", "every row must name its plan and proxy"),
    ],
)
def test_a_row_that_is_none_is_refused(tmp_path, row, said):
    path = tmp_path / "losses.csv"
    path.write_text(f"{','.join(COLUMNS)}\n0,kl,0.1,1,1,5,9\n{row}\n")
    with pytest.raises(InputError, match=said):
        read_losses(path)


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("proxies_study", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_study_measures_every_proxy_and_goes_on(study, tmp_path, monkeypatch, capsys):
    problems = [Problem(f"tom has {n} apples ?", f"#### {n}") for n in range(1, 6)]
    study.run(tiny_denoiser(), problems[:2], problems[2:], 2, 0, tmp_path)
    first = (tmp_path / "losses.csv").read_text()
    assert len(first.splitlines()) == 1 + 2 * len(LOSSES)
    study.run(tiny_denoiser(), problems[:2], problems[2:], 3, 0, tmp_path)
    again = (tmp_path / "losses.csv").read_text()
    assert again.startswith(first)
    assert len(again.splitlines()) == 1 + 3 * len(LOSSES)
    capsys.readouterr()
    monkeypatch.setattr(
        sys, "argv", ["hwsearch", "proxies", str(tmp_path / "losses.csv"), "--json"]
    )
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    listed = json.loads(capsys.readouterr().out)
    assert {found["proxy"] for found in listed} == set(LOSSES)
    assert all(found["plans"] == 3 for found in listed)


def test_drawn_plans_spread_from_careful_to_all_compressed(study):
    plans = study.draw_plans(6, 40, 0)
    changed = [sum(layer.mlp != "fp32" for layer in plan.layers) for plan in plans]
    assert min(changed) == 0
    assert max(changed) == 6
    assert len(set(plans)) == 40
