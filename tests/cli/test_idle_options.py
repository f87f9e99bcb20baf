"""Options that would be passed over are refused, before anything is read or computed."""

from pathlib import Path

import pytest

SEARCH = (
    "search",
    "--model",
    "gsm-mini",
    "--device",
    "apple-m2",
    "--target-ratio",
    0.5,
    "--dry-run",
)
OF_MODEL = ("export", "--model", "gsm-mini", "--plan", "plan.json", "-o", "out")
COMPARE = ("compare", "--devices", "apple-m2")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with what commands name, empty: it would be an error to read any of it."""
    monkeypatch.chdir(tmp_path)
    Path("bundle").mkdir()
    for name in ("bundle/bundle.json", "plan.json", "config.json"):
        Path(name).touch()
    Path("results.csv").write_text("kit,of,operators\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "idle", "why"),
    [
        (("front", "s", "--target-ms", 9, "--picture", "p.png"), "--picture p.png", "a target"),
        (("front", "s", "--target-ms", 9, "--format", "csv"), "--format csv", "a target"),
        (("front", "s", "--json", "--format", "csv"), "--format csv", "--json"),
        ((*COMPARE, "s", "--prompt-length", 4), "--prompt-length 4", "a study"),
        ((*COMPARE, "--shapes-of", "gsm-mini", "--storage", "s.db"), "--storage s.db", "a study"),
        ((*COMPARE, "--shapes-of", "gsm-mini", "--evaluate", 2), "--evaluate 2", "a study"),
        (("export", "s", "-o", "out", "--references", 4), "--references 4", "a study"),
        (("export", "s", "-o", "out", "--task", "gsm8k"), "--task gsm8k", "a study"),
        (("export", "s", "-o", "m", "--to", "gguf", "--limit", 5), "--limit 5", "--to gguf"),
        ((*OF_MODEL, "--to", "gguf", "--runtime", "x"), "--runtime x", "--to gguf"),
        ((*OF_MODEL, "--to", "compressed-tensors", "--references", 2), "--references 2", "--to"),
        ((*OF_MODEL, "--limit", 5), "--limit 5", "--model"),
        ((*OF_MODEL, "--storage", "s.db"), "--storage s.db", "a study"),
        (("generate", "bundle", "?", "--stream", "--json"), "--stream", "--json"),
        (("ls", "models", "--device", "cpu"), "--device cpu", "ls models"),
        (("evaluate", "bundle", "--dtype", "float16"), "--dtype float16", "a bundle"),
        (("sinks", "bundle", "-o", "out", "--memory", "1GiB"), "--memory 1GiB", "a bundle"),
        (
            ("sinks", "gsm-mini", "-o", "out", "--path", "p.jsonl", "--calibration", "c.jsonl"),
            "--calibration c.jsonl",
            "--path",
        ),
        ((*SEARCH, "--problems", 5), "--problems 5", "--finalists"),
        ((*SEARCH, "--heartbeat-s", 5), "--heartbeat-s 5", "an SQLite file"),
        ((*SEARCH, "--sampler", "tpe", "--no-sensitivities"), "--no-sensitivities", "sampler tpe"),
        (
            (*SEARCH, "--thresholds", "1.0", "--rules", "drop-transient"),
            "--rules drop-transient",
            "1 alone",
        ),
        ((*SEARCH, "--boundaries", "0.5"), "--boundaries 0.5", "--early-scales"),
        (("profile", "--kit", "kit", "--device", "x"), "--device x", "--kit"),
        (("profile", "--kit", "kit", "--threads", 2), "--threads 2", "--kit"),
        (
            ("profile", "--kit", "kit", "--for", "llama.cpp", "--formats", "w8"),
            "--formats w8",
            "--kit",
        ),
        (
            ("profile", "--import", "results.csv", "--device", "x", "--rounds", 2),
            "--rounds 2",
            "--import",
        ),
        (("profile", "--runtime", "torch-cpu", "--threads", 2), "--threads 2", "a torch runtime"),
        (("profile", "--shapes-of", "config.json", "--dtype", "x"), "--dtype x", "config.json"),
        (("profile", "--grid", "rows=8", "--kept-heads", "1.0"), "--kept-heads 1.0", "--grid"),
    ],
)
def test_an_option_without_effect_is_refused(run, folder, arguments, idle, why):
    before = sorted(folder.rglob("*"))
    code, _, err = run(*arguments)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert err.startswith(f"error: {idle} has no effect with")
    assert why in err and err.endswith("; leave it out\n")
    assert sorted(folder.rglob("*")) == before


def test_what_comes_from_the_environment_is_no_reason_to_refuse(run, monkeypatch):
    monkeypatch.setenv("HWSEARCH_LS_DEVICE", "apple-m2")
    code, out, _ = run("ls", "models")
    assert code == 0 and "gsm-mini" in out
