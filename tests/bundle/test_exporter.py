import pytest

from hwsearch.bundle import Exporter
from hwsearch.bundle.partial import PartialBundle
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.errors import InputError, PlanError
from hwsearch.plan import CompressionPlan
from hwsearch.runtime import Runtime, measure_agreement
from hwsearch.runtime.bundle import REFERENCE_FILE
from hwsearch.testing.tiny import tiny_denoiser

MIXED = CompressionPlan.validate(
    {
        "layers": [
            {"attention": "w8a8", "mlp": "w4"},
            {"qkv": "w8", "out": "fp32", "gate_up": "w8a8", "down": "w4"},
        ],
        "head": "w8a8",
    }
)


@pytest.fixture(scope="module")
def compressed():
    return compress(tiny_denoiser(tie_embeddings=True), MIXED)


@pytest.fixture(scope="module")
def exporter(compressed):
    return Exporter(compressed.denoiser)


def test_a_bundle_is_written_whole_and_replaced_only_on_request(compressed, exporter, tmp_path):
    out = tmp_path / "deep" / "bundle"
    questions = ["tom has 3 apples ?", "how many now ?"]
    bundle = exporter.export(compressed, KeptShares((0.6, 1.0)), out, questions=questions)
    assert CompressionPlan.read(out / "plan.json") == MIXED
    agreement = measure_agreement(Runtime(bundle, threads=1))
    assert agreement.tokens == 16 and agreement.share >= 0.5
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InputError, match="exists already"):
        exporter.export(compressed, KeptShares.keeping_all(2), out)
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "left-over.txt").write_text("of the old bundle")
    replaced = exporter.export(compressed, KeptShares.keeping_all(2), out, overwrite=True)
    assert replaced.manifest.kept_shares == (1.0, 1.0)
    assert {path.name for path in out.iterdir()} == set(before) - {REFERENCE_FILE}
    assert [path.name for path in out.parent.iterdir()] == ["bundle"]


def test_a_failed_export_leaves_nothing_and_keeps_what_was_there(
    compressed, exporter, tmp_path, monkeypatch
):
    out = tmp_path / "bundle"
    out.mkdir()
    (out / "precious.txt").write_text("stays")

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("hwsearch.bundle.exporter.write_manifest", full_disk)
    with pytest.raises(OSError, match="no space left"):
        exporter.export(compressed, KeptShares.keeping_all(2), out, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert [path.name for path in out.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ((1.0,), "1 entries but the plan 2"),
        ((1.0, 0.0), "layer 1: kept share"),
        ((1.5, 1.0), "1.5"),
    ],
)
def test_shares_that_do_not_fit_are_refused(compressed, exporter, tmp_path, shares, message):
    with pytest.raises(PlanError, match=message):
        exporter.export(compressed, KeptShares(shares), tmp_path / "bundle")


def test_a_bundle_that_was_aside_when_an_export_was_killed_comes_back(tmp_path):
    """Even where the next export is of something else, or fails."""
    out = tmp_path / "bundle"
    aside = tmp_path / ".bundle.partial" / "replaced"
    aside.mkdir(parents=True)
    (aside / "precious.txt").write_text("stays")
    (aside.parent / "key.json").write_text("of another export")
    with pytest.raises(RuntimeError, match="stop"), PartialBundle(out, "mine"):
        raise RuntimeError("stop")
    assert [path.name for path in out.iterdir()] == ["precious.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
