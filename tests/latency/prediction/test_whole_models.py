"""Whole-model runs as they are kept beside a table."""

import pandas as pd
import pytest

from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.profiling.onnxruntime import finish, machine_info
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.operators import OpKey
from hwsearch.latency.prediction.whole_models import (
    WHOLE_FILE,
    Whole,
    calibrate_wholes,
    whole_frame,
    with_runs,
)

TABLE = LatencyTable({OpKey("linear", 2, 4, 8): ((1.5, 2.5),)})
LARGER = LatencyTable({OpKey("linear", 2, 4, 8): ((1.5, 2.5),), OpKey("norm", 2, 4): ((1.0, 2.0),)})


def runs(model, slope=2.0):
    wholes = [
        Whole(({None: s}, {None: 2 * s}), (slope * s, 1.0 + slope * s), 9.0 * s)
        for s in (1.0, 2.0, 4.0, 5.0)
    ]
    lines = calibrate_wholes(model, wholes[:3])
    return lines, whole_frame(wholes, lines, held_out=1)


def test_runs_are_kept_with_what_was_predicted_and_which_were_held_out():
    lines, frame = runs("m")
    assert frame["fitted"].tolist() == [True, True, True, False]
    assert frame["refresh_predicted_ms"].tolist() == pytest.approx([2.0, 4.0, 8.0, 10.0])
    assert (lines.step.intercept_ms, lines.step.slope) == pytest.approx((1.0, 1.0))
    assert frame["generation_measured_ms"].tolist() == [9.0, 18.0, 36.0, 45.0]


def test_fresh_runs_replace_those_of_their_model_alone(tmp_path):
    assert with_runs(tmp_path, None) == {}
    pd.concat([runs("a")[1], runs("b")[1]]).to_csv(tmp_path / WHOLE_FILE, index=False)
    found = with_runs(tmp_path, runs("a", slope=3.0)[1])[WHOLE_FILE]
    assert found.groupby("model").size().to_dict() == {"a": 4, "b": 4}
    assert found.loc[found["model"] == "a", "refresh_measured_ms"].iloc[0] == 3.0
    assert with_runs(tmp_path, None)[WHOLE_FILE]["model"].nunique() == 2
    assert with_runs(None, runs("c")[1])[WHOLE_FILE]["model"].unique().tolist() == ["c"]


def test_a_device_that_is_added_to_keeps_its_runs_and_one_timed_anew_does_not(tmp_path):
    lines, frame = runs("m")
    info = machine_info("box", Effort()).model_copy(update={"calibrations": (lines,)})
    first = finish(info, None, TABLE, tmp_path, frame)
    kept = (tmp_path / "box" / WHOLE_FILE).read_text()
    second = finish(first.info, first.info, LARGER, tmp_path)
    assert second.info.samples == 4
    assert (tmp_path / "box" / WHOLE_FILE).read_text() == kept
    finish(machine_info("box", Effort()), None, TABLE, tmp_path)
    assert not (tmp_path / "box" / WHOLE_FILE).exists()
