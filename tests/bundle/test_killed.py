"""An export that is killed at any moment: nothing half-made is seen, and the next run ends as if unharmed."""

import time

import pytest

from hwsearch.bundle import write_bundle
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.plan import CompressionPlan
from hwsearch.testing.tiny import tiny_denoiser
from tests.killing import FORK, killed_at_random

PLAN = CompressionPlan.uniform(4, "w8a8", "w4", head="w8")


@pytest.fixture(scope="module")
def compressed():
    return compress(tiny_denoiser(layers=4, vocab_size=4096, hidden=256, heads=4), PLAN)


@pytest.fixture
def export(compressed, tmp_path):
    """Begins to export into a folder, in a process of its own."""

    def write(out):
        kept, asked = KeptShares((0.5, 1.0, 1.0, 1.0)), ["tom has 3 apples ?"]
        write_bundle(compressed, kept, out, questions=asked, overwrite=True)

    write(tmp_path / "first")  # traces, which later processes need not

    def begin(out):
        process = FORK.Process(target=write, args=(out,))
        process.start()
        return process

    return begin


def finish(process):
    began = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - began


def files(folder):
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name != "reference.npz"
    }


@pytest.mark.slow
def test_a_killed_export_is_gone_on_with(export, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "bundle"
    seconds = finish(export(whole))
    for _ in killed_at_random(lambda: export(out), seconds):
        assert not out.exists() or files(out) == files(whole), "half a bundle is never in its place"
    finish(export(out))
    assert files(out) == files(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "first", "whole"]
