"""What cannot be worked with is refused in one line that says what would do, and leaves nothing behind.

Further such lines are looked for where the verbs are: GGUF files in `test_gguf`, causal models in
`test_causal_model`, studies in `studies/test_search`.
"""

import json
import shutil
from types import SimpleNamespace

import pytest

from hwsearch.plan import CompressionPlan
from tests.cli.test_user_model import LENGTHS, checkpoint

SEARCH = ("--device", "ryzen-7950x", "--target-ratio", 1.0, "--trials", 2, "--storage", "s.db")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("models") / "tiny", "llada")


@pytest.fixture
def refused(run, tmp_path, monkeypatch):
    """The one line that a command is refused with."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code, out, err = run(*arguments)
        assert (code, out) == (2, ""), err
        assert err.startswith("error: ") and len(err.splitlines()) == 1
        return err

    return call


@pytest.fixture
def unread(monkeypatch):
    """No model is read, and nobody is asked on the network, before a command is refused."""
    monkeypatch.setattr("hwsearch.denoisers.loading.loader.load_denoiser", None)
    monkeypatch.setattr("hwsearch.tasks.gsm8k._from_hub", None)


def lines(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_too_little_memory(refused, model, tmp_path):
    for command in (("search", "--model", model, *SEARCH), ("evaluate", model)):
        said = refused(*command, "--memory", "1MB")
        assert "memory must be at least 0.25 GiB for layers of this model; got 0.00 GiB" in said
        assert "--memory" in said
    assert not (tmp_path / "s.db").exists()


@pytest.fixture
def plan(tmp_path):
    layer = {"attention": "w8", "mlp": "w4"}
    return lines(tmp_path / "plan.json", {"layers": [layer] * 3, "head": "w8"})


@pytest.fixture
def full_disk(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))


@pytest.mark.slow
def test_a_disk_without_room_for_the_bundle(refused, model, plan, tmp_path, full_disk):
    said = refused("export", "--model", model, "--plan", plan, "-o", "bundle", *LENGTHS)
    assert "bundle: the bundle takes 0.00 GB, and the disk has 0.00 GB left" in said
    assert "make room for 0.07 GB more" in said
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_a_disk_without_room_for_the_codes_of_a_large_model(
    refused, model, plan, tmp_path, monkeypatch
):
    small = tmp_path / "cache"
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda path: SimpleNamespace(free=100 if small in (path, *path.parents) else 10**12),
    )
    monkeypatch.setattr("hwsearch.denoisers.large.memory.COPIES_SHARE", 0.0)
    monkeypatch.setenv("HWSEARCH_CACHE", str(tmp_path / "cache"))
    said = refused("export", "--model", model, "--plan", plan, "-o", "bundle", *LENGTHS)
    assert "codes take 0.00 GB, and the disk has 0.00 GB left; make room, or set" in said
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("held", ["", "\n\n"])
def test_a_calibration_file_without_questions(refused, model, tmp_path, held):
    (tmp_path / "none.jsonl").write_text(held)
    for command in (("search", "--model", model, *SEARCH), ("sinks", model, "-o", "sinks")):
        said = refused(*command, "--calibration", "none.jsonl", *LENGTHS)
        assert 'none.jsonl holds no questions; it needs a line with "question" for each' in said
    assert not (tmp_path / "s.db").exists()


@pytest.mark.parametrize(
    ("loss", "record", "said"),
    [
        ("nll", {}, "loss 'nll' needs problems with answers, not questions alone"),
        ("digits", {}, "loss 'digits' needs problems with answers, not questions alone"),
        ("digits", {"answer": "apples"}, "no answer holds a result such as '<<3*4=12>>12'"),
        ("nll", {"answer": "apples " * 9}, "none of the 2 answers fits in the 8 tokens"),
    ],
)
def test_a_task_that_does_not_fit_the_loss(refused, model, tmp_path, loss, record, said):
    problems = [{"question": f"tom has {i} apples ?", **record} for i in range(2)]
    lines(tmp_path / "asked.jsonl", *problems)
    search = ("search", "--model", model, *SEARCH, "--loss", loss, *LENGTHS)
    assert said in refused(*search, "--calibration", "asked.jsonl")
    assert not (tmp_path / "s.db").exists()


@pytest.mark.parametrize(
    "path",
    ["data/gsm", "gsm.jsonl", "nowhere/gsm.parquet", "./data/gsm", "../x", "~/gsm", "a/b/c", "gsm"],
)
@pytest.mark.parametrize("task", [("gsm8k",), ("gsm8k", "--num-shots", 0), ("gsm8k_cot",)])
def test_a_mistyped_path_of_a_task(refused, unread, tmp_path, path, task):
    (tmp_path / "data").mkdir()
    (tmp_path / "plan.json").write_text(CompressionPlan.uniform(1).model_dump_json())
    asked = ("--task", *task, "--task-path", path)
    for command in (
        ("search", "--model", "mine", *SEARCH),
        ("evaluate", "mine"),
        ("sinks", "mine", "-o", "sinks"),
        ("export", "--model", "mine", "--plan", "plan.json", "-o", "out"),
        ("baselines", "mine", "-o", "rows"),
        ("profile", "--model", "mine", "--device", "new"),
    ):
        said = refused(*command, *asked)
        assert f"there is no file or folder {path} with problems" in said
        assert "train.jsonl" in said and "a hub id such as openai/gsm8k" in said
