"""Exports refuse what cannot work before they read a model."""

import pytest

from hwsearch.errors import InputError
from hwsearch.jobs.exporting import export, export_from_study, export_model
from hwsearch.plan import CompressionPlan
from hwsearch.testing.tiny import tiny_denoiser


def test_a_folder_that_exists_is_told_before_a_model_or_a_study_is_read(tmp_path):
    plan = CompressionPlan.uniform(2)
    with pytest.raises(InputError, match="exists already"):
        export_model("no-such-model", plan, tmp_path)
    with pytest.raises(InputError, match="exists already"):
        export_from_study("no-such-study", None, tmp_path)


def test_and_before_anything_is_calibrated(tmp_path, monkeypatch):
    def fail(*_):
        raise AssertionError("it calibrated first")

    monkeypatch.setattr("hwsearch.jobs.exporting.own_calibration", fail)
    denoiser = tiny_denoiser()
    plan = CompressionPlan.uniform(denoiser.num_layers, "w4", "w4", rounding="calibrated")
    with pytest.raises(InputError, match="exists already"):
        export(denoiser, plan, tmp_path)
