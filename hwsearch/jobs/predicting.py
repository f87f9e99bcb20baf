"""Milliseconds of a plan from a file, by layer."""

from __future__ import annotations

from typing import Any

from hwsearch.compression import check_fits
from hwsearch.denoisers.loading import load_denoiser
from hwsearch.latency.device import load_device
from hwsearch.latency.operators import Workload
from hwsearch.latency.predict import Predictor
from hwsearch.plan import CompressionPlan
from hwsearch.search.preparation import calibration_questions, default_workload
from hwsearch.sinks import calibrate_sinks


def predict_plan(
    plan: CompressionPlan, model: str, device_name: str, prompt_length: int | None = None
) -> dict[str, Any]:
    """Predicted times of a plan of a model on a device, as plain data.

    Args:
        plan: the plan.
        model: the model; its layers must be as many as the plan's.
        device_name: the device.
        prompt_length: tokens of the prompt; None takes gsm-mini's median.

    Raises:
        PlanError: the plan does not fit the model.
        MissingShapeError: the device's table lacks an operator.
    """
    denoiser, device = load_denoiser(model), load_device(device_name)
    check_fits(plan, denoiser)
    questions = calibration_questions(16)
    decoding = plan.decoding or denoiser.decoding
    if prompt_length is None:
        prompt_length = default_workload(denoiser).prompt_length
    calibration = device.info.calibration(denoiser.name)
    workload = Workload(prompt_length, decoding)
    predictor = Predictor(device, denoiser.geometry, workload, calibration)
    shares = calibrate_sinks(denoiser, questions).kept_shares(plan)
    latency = predictor.predict(plan, shares)
    return {
        "device": device.info.name,
        "provenance": device.info.provenance.value,
        "calibrated": calibration is not None,
        "prompt_length": prompt_length,
        "generation_ms": latency.generation_ms,
        "refresh_ms": latency.refresh_ms,
        "step_ms": latency.step_ms,
        "tokens_per_second": 1e3 * decoding.gen_length / latency.generation_ms,
        "layers": [
            {
                "layer": index,
                "kept_share": share,
                "attention": layer.attention.value,
                "mlp": layer.mlp.value,
                "ms": predictor.layer_ms(layer, share),
            }
            for index, (layer, share) in enumerate(zip(plan.layers, shares, strict=True))
        ],
    }
