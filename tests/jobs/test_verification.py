"""A right bundle verifies whatever its formats; a wrong one does not, sealed as it may be."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from hwsearch.bundle import Exporter
from hwsearch.cli.bundles.verify import command
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.errors import InputError, VerificationError
from hwsearch.jobs.verification import verify
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import probe
from hwsearch.runtime.bundle import REFERENCE_FILE, STEP_FILE, TOKENIZER_FILE
from hwsearch.runtime.providers import Provider
from hwsearch.runtime.reference import References
from hwsearch.testing.tiny import tiny_denoiser
from tests.jobs.faults import first_is, resealed, scale, swap

QUESTIONS = [f"tom has {n} apples and buys {n + 3} more how many now ?" for n in range(8)]
PLANS = {
    **{fmt: CompressionPlan.uniform(2, fmt, fmt, head=fmt) for fmt in ("fp32", "w8a8", "w8", "w4")},
    "mixed": CompressionPlan.validate(
        {
            "layers": [{"attention": "w8", "mlp": "w4"}, {"attention": "w8a8", "mlp": "w8"}],
            "head": "w8",
        }
    ),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Bundles by format, made when first asked for. Tests must not write into them."""
    denoiser = tiny_denoiser(hidden=128, sharpness=2.0)
    exporter, made = Exporter(denoiser), {}

    def of(name):
        if name not in made:
            out = tmp_path_factory.mktemp("verify") / name
            compressed = compress(denoiser, PLANS[name])
            made[name] = exporter.export(
                compressed, KeptShares((1.0, 0.5)), out, questions=QUESTIONS
            )
        return made[name]

    return of


def failed(bundle):
    return {
        check.name for check in verify(bundle.path, limit=0) if check.decides and not check.passed
    }


@pytest.mark.parametrize("name", PLANS)
def test_a_right_bundle_verifies(exported, name):
    checks = {check.name: check for check in verify(exported(name).path, limit=0)}
    assert [c for c in checks.values() if c.decides and not c.passed] == []
    names = ["files", "prompts", "predictions", "choices"]
    sessions = [f"plain session of {file}" for file in ("refresh.onnx", "step.onnx")]
    assert list(checks) == [*names, *sessions, "generations"]
    assert checks["predictions"].figures["positions"] >= 3 * len(QUESTIONS)
    assert not checks["generations"].decides


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(scale("layers.0.down", 1.05), id="down scaled"),
        pytest.param(scale("layers.1.out", 1.05), id="out scaled"),
        pytest.param(scale("head", 1.05), id="head scaled"),
        pytest.param(scale("layers.1.qkv", 0.0), id="zero"),
        pytest.param(scale("layers.1.gate_up", -1.0), id="sign"),
    ],
)
def test_a_wrong_weight_with_a_right_checksum_fails(exported, tmp_path, name, fault):
    assert "predictions" in failed(resealed(exported(name), tmp_path / "wrong", fault))


@pytest.mark.parametrize("name", [name for name in PLANS if name != "mixed"])
@pytest.mark.parametrize("product", ["qkv", "out", "gate_up", "down"])
def test_two_layers_in_each_others_place_fail(exported, tmp_path, name, product):
    fault = swap(f"layers.0.{product}", f"layers.1.{product}")
    assert "predictions" in failed(resealed(exported(name), tmp_path / "wrong", fault))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_fail_and_are_named(exported, tmp_path, value):
    wrong = resealed(exported("w8"), tmp_path / "wrong", first_is("layers.1.down", value))
    checks = {check.name: check for check in verify(wrong.path, limit=0)}
    assert not checks["predictions"].passed
    assert "refresh.onnx: logits" in checks["predictions"].found
    json.dumps([check.document() for check in checks.values()], allow_nan=False)


def test_other_kept_shares_fail(exported, tmp_path):
    bundle = exported("fp32")
    wrong = resealed(bundle, tmp_path / "wrong", lambda folder: None, kept_shares=(1.0, 0.1))
    assert "predictions" in failed(wrong)


@pytest.mark.parametrize("output", ["token", "confidence"])
def test_an_answer_that_is_not_that_of_the_logits_fails(exported, tmp_path, output):
    def change(folder):
        model = onnx.load(folder / STEP_FILE, load_external_data=False)
        for node in model.graph.node:
            node.output[:] = ["right" if name == output else name for name in node.output]
        kind = onnx.TensorProto.INT64 if output == "token" else onnx.TensorProto.FLOAT
        half = onnx.helper.make_tensor("half", kind, [], [2])
        model.graph.initializer.append(half)
        model.graph.node.append(onnx.helper.make_node("Div", ["right", "half"], [output]))
        onnx.save(model, folder / STEP_FILE)

    wrong = resealed(exported("fp32"), tmp_path / "wrong", change)
    (check,) = (c for c in verify(wrong.path, limit=0) if c.name == "predictions")
    assert not check.passed and f"step.onnx: {output}" in check.found


def test_a_tokenizer_that_makes_other_prompts_fails(exported, tmp_path):
    def change(folder):
        text = (folder / TOKENIZER_FILE).read_text()
        swapped = text.replace('"apples"', '"?!"').replace('"buys"', '"apples"')
        (folder / TOKENIZER_FILE).write_text(swapped.replace('"?!"', '"buys"'))

    assert failed(resealed(exported("fp32"), tmp_path / "wrong", change)) == {"prompts"}


class TestNothingToCompare:
    def test_no_states_are_refused(self, exported, tmp_path):
        def empty(folder):
            held = References.read(folder / REFERENCE_FILE)
            rows = ("generation", "index", "position", "ids", "logp")
            none = {name: getattr(held, name)[:0] for name in rows}
            none |= {name: getattr(held, name)[:, :0] for name in ("floor_kl", "floor_same")}
            replace(held, **none).write(folder / REFERENCE_FILE)

        wrong = resealed(exported("fp32"), tmp_path / "wrong", empty)
        with pytest.raises(InputError, match="it must judge at least one position; export"):
            verify(wrong.path)

    def test_a_bundle_of_before_is_opened_and_says_what_cannot_be_asked(self, exported, tmp_path):
        old = resealed(
            exported("w4"), tmp_path / "old", lambda folder: (folder / REFERENCE_FILE).unlink()
        )
        done = CliRunner().invoke(command, [str(old.path), "--json"], catch_exceptions=False)
        assert done.exit_code == 1
        checks = {check["name"]: check for check in json.loads(done.stdout)}
        assert {name for name, c in checks.items() if not c["passed"] and c["decides"]} == {
            "predictions"
        }
        assert "no reference states" in checks["predictions"]["found"]
        assert "export it again" in checks["predictions"]["rule"]
        assert checks["generations"]["figures"]["tokens"] == 8 * len(QUESTIONS)

    def test_an_export_without_questions_fails_so(self, tmp_path):
        denoiser = tiny_denoiser()
        bundle = Exporter(denoiser).export(
            compress(denoiser, PLANS["fp32"]), KeptShares.keeping_all(2), tmp_path / "b"
        )
        checks = {check.name: check for check in verify(bundle.path)}
        assert not checks["predictions"].passed
        assert checks["generations"].found == "no answers to compare"
        assert checks["plain session of step.onnx"].passed


def test_a_graph_that_needs_the_products_options_is_named(exported, tmp_path, monkeypatch):
    """Products that saturate in a plain session, on whatever CPU: other weights stand for them."""
    other = resealed(exported("w4"), tmp_path / "other", scale("layers.0.down", 1.01))
    whole = Provider.open_plain
    monkeypatch.setattr(
        Provider,
        "open_plain",
        lambda self, path: whole(self, other.path / path.name if path.name == STEP_FILE else path),
    )
    done = CliRunner().invoke(command, [str(exported("w4").path), "--json"])
    wrong = [check for check in json.loads(done.stdout) if not check["passed"] and check["decides"]]
    assert done.exit_code == 1
    assert [check["name"] for check in wrong] == ["plain session of step.onnx"]
    assert "VNNI" in wrong[0]["found"]


def test_a_graph_without_logits_says_so(exported, tmp_path):
    def rename(folder):
        model = onnx.load(folder / STEP_FILE, load_external_data=False)
        for node in model.graph.node:
            node.input[:] = ["l" if name == probe.LOGITS else name for name in node.input]
            node.output[:] = ["l" if name == probe.LOGITS else name for name in node.output]
        onnx.save(model, folder / STEP_FILE)

    with pytest.raises(VerificationError, match=r"step.onnx: .*logits.*export the bundle again"):
        verify(resealed(exported("fp32"), tmp_path / "wrong", rename).path)


def test_it_takes_neither_torch_nor_onnx(exported):
    script = (
        "import sys; from hwsearch.jobs.verification import verify; "
        f"checks = verify({str(exported('w4').path)!r}); "
        "assert all(check.passed for check in checks if check.decides), checks; "
        "heavy = {'torch', 'onnx', 'transformers', 'optuna'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_references_stay_small_and_whole(exported, tmp_path):
    bundle = exported("w8a8")
    path = bundle.path / REFERENCE_FILE
    held = References.read(path)
    assert path.stat().st_size < 40_000
    np.testing.assert_allclose(np.exp(held.logp).sum(axis=1), 1.0, atol=1e-5)
    held.write(tmp_path / "again.npz")
    again = References.read(tmp_path / "again.npz")
    for field in fields(held):
        np.testing.assert_array_equal(getattr(held, field.name), getattr(again, field.name))


def test_what_a_generation_that_stopped_never_wrote_is_read_again(exported, tmp_path):
    found = References.read(exported("fp32").path / REFERENCE_FILE)
    written = found.written.copy()
    written[0, -1] = -1
    replace(found, written=written).write(tmp_path / "stopped.npz")
    assert (References.read(tmp_path / "stopped.npz").written == written).all()
    written[0, -1] = -2
    replace(found, written=written).write(tmp_path / "wrong.npz")
    with pytest.raises(InputError, match=r"written must be whole numbers from -1; export"):
        References.read(tmp_path / "wrong.npz")
