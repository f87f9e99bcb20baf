"""A bundle with a forecast foresees without torch what torch foresees, and refuses another's."""

import shutil

import numpy as np
import pytest

from hwsearch.bundle import Exporter
from hwsearch.compression import compress, foreseeing
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.forecasts import ForecastFitter
from hwsearch.errors import InputError, PlanError, VerificationError
from hwsearch.forecast.settings import METHODS
from hwsearch.plan import CachePolicy, CompressionPlan, Decoding
from hwsearch.runtime.agreement import measure_agreement
from hwsearch.runtime.bundle import FORECAST_FILE, read_bundle, sha256_of, write_manifest
from hwsearch.runtime.engine import Runtime
from hwsearch.runtime.providers import WEB
from hwsearch.testing.tiny import tiny_denoiser

QUESTIONS = ["2 + 2 ?", "3 * 4 - 1 ?", "7 ?"]
FITTED_ON = [f"{a} + {b} ?" for a in range(4) for b in range(4)]

#: Gates wide open: a random model is foreseen badly, and must be foreseen alike everywhere.
OPEN = {"threshold": 0.02, "least_agreement": 0.0, "least_r2": -100.0, "bins": 2}
SMALL = {"low-rank": {"rank": 4}, "golden": {"rank": 4, "coreset": 16, "neighbours": 3}}


def forecast(method, **more):
    return {"method": method, **OPEN, **SMALL.get(method, {}), **more}


def decoding_of(forecast, **changes):
    return Decoding.model_validate(
        {"gen_length": 16, "block_length": 8, "refresh_interval": 8,
         "commit": {"policy": "threshold", "threshold": 0.5}, "forecast": forecast} | changes
    )  # fmt: skip


@pytest.fixture(scope="module", params=[False, True], ids=["llada", "dream"])
def exporter(request):
    return Exporter(tiny_denoiser(logit_shift=request.param))


def compressed(exporter, how, fmt="fp32"):
    plan = CompressionPlan.uniform(2, fmt, fmt, head=fmt, decoding=how.model_dump())
    kept = KeptShares((1.0, 0.5), CachePolicy(), how.refreshes)
    fitter = ForecastFitter(exporter.denoiser, FITTED_ON)
    return foreseeing(compress(exporter.denoiser, plan), kept, fitter), kept


@pytest.mark.parametrize("changes", [{}, {"window": {"advance": True}}], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_onnxruntime_foresees_what_torch_foresees(exporter, method, changes, tmp_path):
    made, kept = compressed(exporter, decoding_of(forecast(method), **changes))
    bundle = exporter.export(made, kept, tmp_path / "bundle", questions=QUESTIONS)
    assert FORECAST_FILE in bundle.manifest.sha256
    runtime = Runtime(bundle, threads=1)
    assert measure_agreement(runtime).share == 1.0
    found = [runtime.generation(runtime.prompt(question)) for question in QUESTIONS]
    assert sum(int(one.foreseen.sum()) for one in found) > 0
    assert all(len(one.passes) < 16 for one in found)


def test_verified_forecasts_change_no_text(exporter, tmp_path):
    texts = []
    for index, how in enumerate(
        (decoding_of(None), decoding_of(forecast("low-rank", verify=True)))
    ):
        made, kept = compressed(exporter, how)
        runtime = Runtime(exporter.export(made, kept, tmp_path / str(index)), threads=1)
        texts.append([runtime.generation(runtime.prompt(q)) for q in QUESTIONS])
    for plain, verified in zip(*texts, strict=True):
        assert plain.tokens.tolist() == verified.tokens.tolist()
        assert len(plain.passes) == len(verified.passes)


def test_it_is_fitted_after_compression(exporter):
    fits = [
        compressed(exporter, decoding_of(forecast("low-rank")), fmt)[0].network.forecast
        for fmt in ("fp32", "w2")
    ]
    network, fitter = exporter.denoiser.network, ForecastFitter(exporter.denoiser, FITTED_ON)
    again = fitter.foreseeing(
        network, KeptShares((1.0, 0.5)), decoding_of(forecast("low-rank"))
    ).forecast
    logits = np.zeros((1, 8, 64), dtype=np.float32)
    hidden = np.random.default_rng(0).standard_normal((1, 8, 64), dtype=np.float32)
    tokens, masked = np.arange(8)[None], np.array([[False] * 2 + [True] * 6])
    told = []
    for fit in (*fits, again):
        one = fit.forecaster()
        one.begin()
        one.see(logits, hidden, np.ones((1, 8), dtype=bool))
        told.append(one.foresee(tokens, masked).logits)
    assert not np.allclose(told[0], told[1])
    assert np.allclose(told[0], told[2], atol=1e-5)
    assert network.forecast is None, "the model itself is left as it was"


def test_a_forecast_of_another_plan_is_refused(exporter, tmp_path):
    bundles = []
    for fmt in ("fp32", "w8a8"):
        made, kept = compressed(exporter, decoding_of(forecast("ridge")), fmt)
        bundles.append(exporter.export(made, kept, tmp_path / fmt))
    own, other = (bundle.path / FORECAST_FILE for bundle in bundles)
    shutil.copy(other, own)
    sealed = bundles[0].manifest.sha256 | {FORECAST_FILE: sha256_of(own)}
    write_manifest(bundles[0].path, bundles[0].manifest.model_copy(update={"sha256": sealed}))
    with pytest.raises(InputError, match="another plan"):
        Runtime(read_bundle(bundles[0].path), threads=1)


def test_a_bundle_without_its_forecast_is_refused(exporter, tmp_path):
    made, kept = compressed(exporter, decoding_of(forecast("reuse")))
    bundle = exporter.export(made, kept, tmp_path / "bundle")
    (bundle.path / FORECAST_FILE).unlink()
    kept_files = {k: v for k, v in bundle.manifest.sha256.items() if k != FORECAST_FILE}
    write_manifest(bundle.path, bundle.manifest.model_copy(update={"sha256": kept_files}))
    with pytest.raises(VerificationError, match=f"{FORECAST_FILE}: bundle.json does not list it"):
        read_bundle(bundle.path)


def test_what_cannot_be_foreseen_is_refused_before_anything_is_written(exporter, tmp_path):
    how = decoding_of(forecast("reuse"))
    made, kept = compressed(exporter, how)
    out = tmp_path / "bundle"
    with pytest.raises(PlanError, match=r"onnxruntime-web foresees no passes"):
        exporter.export(made, kept, out, provider=WEB)
    plan = CompressionPlan.uniform(2, decoding=how.model_dump())
    with pytest.raises(PlanError, match="no forecast was fitted"):
        exporter.export(compress(exporter.denoiser, plan), kept, out)
    with pytest.raises(PlanError, match="forecasts are fitted on answers"):
        foreseeing(compress(exporter.denoiser, plan), kept, None)
    assert not list(tmp_path.iterdir())
