"""Every reader of files from outside, by name."""

from __future__ import annotations

import json

import numpy as np

from tests.hardening import forms, mutators
from tests.hardening.bundle_readers import BUNDLES
from tests.hardening.device_readers import DEVICES
from tests.hardening.model_readers import MODELS
from tests.hardening.places import Place, Reader, text
from tests.hardening.studies import STUDIES

STUDY = """name = "half"
model = "gsm-mini"
device = "cpu"
target_ratio = 0.5
trials = 120
seed = 3
problems = 64
[space]
formats = ["fp32", "w8a8", "w4"]
thresholds = [1.0, 0.5]
groups = "tied"
"""

DECODING = (
    '{"commit": {"policy": "threshold", "threshold": 0.9}, "stop_at_end": true, "forecast": '
    '{"method": "history", "threshold": 0.5}}'
)

JSONL = "".join(
    json.dumps({"question": f"tom has {n} apples", "answer": f"so\n#### {n}", "suffix": "."}) + "\n"
    for n in range(8)
)

LOSSES = "plan,proxy,loss,cost_passes,seconds,solved,problems\n" + "".join(
    f"{plan},{proxy},{(plan - 2) ** 2 / 7 + place:.3f},{10 * place + 1},0.5,{90 - 3 * plan},100\n"
    for plan in range(5)
    for place, proxy in enumerate(("kl", "nll"))
)


def _plan(folder):
    from hwsearch.plan import CompressionPlan

    decoding = {
        "gen_length": 32, "block_length": 8, "steps": 16, "refresh_interval": 4, "temperature": 0.5,
        "window": {"before": 2, "after": 4}, "suffix_window": 16,
    }  # fmt: skip
    plan = CompressionPlan.uniform(
        3, "w8a8", "w4", sink_threshold=0.5, decoding=decoding, kept_heads=1, sparsity="2:4"
    )
    (folder / "plan.json").write_text(plan.to_json())
    return Place(folder / "plan.json")


def _read_plan(path):
    from hwsearch.plan import CompressionPlan

    return CompressionPlan.read(path).to_json()


def _read_decoding(path):
    from hwsearch.plan import Decoding

    makers = Decoding(gen_length=64, block_length=32, steps=32, refresh_interval=16)
    return makers.changed(Decoding.read_changes(path))


def _read_study(path):
    from hwsearch.study.settings import StudySpec

    return StudySpec.resolve(path, {}).to_toml()


def _profile(folder):
    from hwsearch.sinks import SinkProfile

    shares = tuple(tuple((k + 1) / 9 for k in range(9)) for _ in range(3))
    scores = {"first": [[0.5, 0.2]] * 3, "from_end": [[0.1, 0.2, 0.3]] * 3}
    profile = SinkProfile(
        passes=8, shares=shares, transient_shares=shares, static={"keep-stable": scores}
    )
    (folder / "sinks.json").write_text(profile.model_dump_json())
    return Place(folder / "sinks.json")


def _read_profile(path):
    from hwsearch.plan import CompressionPlan
    from hwsearch.sinks import SinkProfile

    found = SinkProfile.read(path)
    for rule in found.static.values():
        rule.of(0, 12)
    return found.kept_shares(CompressionPlan.uniform(len(found.shares), sink_threshold=0.5))


def _read_jsonl(path):
    from hwsearch.tasks.problem import read_problems, read_questions

    read_questions(path)
    return read_problems(path)


def _shown(folder):
    """A folder of problems, whose training ones are shown before each question."""
    (folder / "test.jsonl").write_text(JSONL)
    return Place(text("train.jsonl", JSONL)(folder).path, folder)


def _read_task(folder):
    from hwsearch.tasks.choice import TaskChoice, _loaded

    _loaded.cache_clear()  # a process reads shots once
    return TaskChoice(task="gsm8k", task_path=str(folder), num_shots=2).worded("test", 3)


def _baselines(folder):
    row = {"key": "a", "family": "none", "method": "dense", "share": 0.0, "correct": "0110", "kl": 0.0,
           "size_bytes": 100, "speed_up": None}  # fmt: skip
    other = {"key": "b", "family": "cache", "method": "sinks", "share": 0.3, "correct": "0111"}
    (folder / "rows.jsonl").write_text("\n" + json.dumps(row) + "\n" + json.dumps(row | other))
    return Place(folder / "rows.jsonl", folder)


def _read_baselines(folder):
    from hwsearch.jobs.baselines import read_rows

    return read_rows(folder)


def _run_of_baselines(folder):
    """What a folder's rows are of."""
    content = {"weights": "ab" * 32, "task": "gsm-mini", "code": "hwsearch 0.1.0"}
    run = {
        "model": "gsm-mini",
        "limit": 500,
        "seed": 0,
        "task": {},
        "options": {},
        "content": content,
    }
    return text("run.json", json.dumps(run))(folder)


def _read_run(path):
    from hwsearch.jobs.baselines import CONTENT, _read_run
    from hwsearch.study.records.identity import checked_content, differences

    known = checked_content(_read_run(path).pop(CONTENT, None), path)
    return differences(known or {}, {"weights": "x", "task": "y"})


def _read_losses(path):
    from hwsearch.report.proxies import careful, rank, read_losses

    return rank(careful(read_losses(path), 0.0), resamples=1)


def _npz(folder):
    np.savez_compressed(
        folder / "a.npz", a=np.arange(12).reshape(3, 4), b=np.ones((2, 2), np.float32)
    )
    return Place(folder / "a.npz")


def _read_npz(path):
    from hwsearch.files import FileKind
    from hwsearch.files.arrays import read_npz

    return read_npz(path, FileKind("archive", 1 << 20))


def _points(folder):
    np.save(folder / "points.npy", np.arange(12, dtype=np.float32).reshape(3, 4))
    return Place(folder / "points.npy")


def _read_points(path):
    from hwsearch.analytical.points import map_points

    return map_points(path)


READERS: dict[str, Reader] = {
    "plan": Reader(_plan, _read_plan, mutators.JSON),
    "decoding": Reader(text("decoding.json", DECODING), _read_decoding, mutators.JSON),
    "study file": Reader(text("study.toml", STUDY), _read_study),
    "sink profile": Reader(_profile, _read_profile, mutators.JSON),
    "JSONL": Reader(text("problems.jsonl", JSONL), _read_jsonl, mutators.JSON),
    "folder of problems": Reader(_shown, _read_task, mutators.JSON),
    "baselines": Reader(_baselines, _read_baselines, mutators.JSON),
    "run of baselines": Reader(_run_of_baselines, _read_run, mutators.JSON),
    "CSV of losses": Reader(text("losses.csv", LOSSES), _read_losses, share=0.5),
    "archive of arrays": Reader(_npz, _read_npz, (*mutators.BYTES, forms.archive_changed)),
    "points": Reader(_points, _read_points, mutators.BYTES),
    **DEVICES,
    **MODELS,
    **BUNDLES,
    **STUDIES,
}  # fmt: skip
