"""An export that is killed at any moment: nothing half-made is seen, and the next run ends as if unharmed."""

import subprocess
import sys
import time

import pytest

from tests.killing import killed_at_random

SCRIPT = """
import sys
from hwsearch.bundle import write_bundle
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.plan import CompressionPlan
from hwsearch.testing.tiny import tiny_denoiser
denoiser = tiny_denoiser(layers=4, vocab_size=4096, hidden=256, heads=4)
plan = CompressionPlan.uniform(4, "w8a8", "w4", head="w8")
compressed = compress(denoiser, plan)
print("ready", flush=True)
write_bundle(
    compressed,
    KeptShares((0.5, 1.0, 1.0, 1.0)),
    sys.argv[1],
    questions=["tom has 3 apples ?"],
    overwrite=True,
)
print("done", flush=True)
"""


def begin(out):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, out], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def finish(out):
    began = time.monotonic()
    process = begin(out)
    began = time.monotonic()
    assert process.communicate()[0] == "done\n" and process.returncode == 0
    return time.monotonic() - began


def files(folder):
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if path.name != "reference.npz"
    }


@pytest.mark.slow
def test_a_killed_export_is_gone_on_with(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "bundle"
    seconds = finish(whole)
    for _ in killed_at_random(lambda: begin(out), seconds):
        assert not out.exists() or files(out) == files(whole), "half a bundle is never in its place"
    finish(out)
    assert files(out) == files(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "whole"]
