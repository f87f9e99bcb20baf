"""Results in the JSON shape of lm-evaluation-harness: a summary, and a line a sample and filter."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hwsearch.tasks.evaluation import Evaluation
from hwsearch.tasks.extraction import exact_match

METRIC = "exact_match"


def results(evaluation: Evaluation, model: str, split_size: int | None = None) -> dict[str, Any]:
    """The summary: scores by filter, and what it takes to repeat them.

    Args:
        evaluation: what was answered and scored.
        model: how the model was asked for.
        split_size: problems of the whole split, where it was not run to its end.
    """
    task, count = evaluation.task, len(evaluation.problems)
    chat = None if evaluation.chat is None else evaluation.chat.source
    return {
        "results": {task.name: {"alias": task.name, **_scores(evaluation)}},
        "configs": {task.name: _task_config(evaluation)},
        "versions": {task.name: task.version},
        "n-shot": {task.name: task.num_shots},
        "higher_is_better": {task.name: {METRIC: True}},
        "n-samples": {task.name: {"original": split_size or count, "effective": count}},
        "config": {
            "model": "hwsearch",
            "model_args": {"pretrained": model},
            "limit": count,
            "fewshot_seed": task.shot_seed,
            "gen_kwargs": evaluation.decoding.model_dump(),
        },
        "chat_template": chat,
        "chat_template_sha": chat and _hash(chat),
        "fewshot_as_multiturn": False,
        "passes": {kind.value: mean for kind, mean in evaluation.mean_passes.items()},
        "total_evaluation_time_seconds": evaluation.seconds,
    }


def samples(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One record for each filter and problem: prompt, text, what was found, whether it counts."""
    return [
        _sample(evaluation, rule.name, rule.extract(text), index)
        for rule in evaluation.task.filters
        for index, text in enumerate(evaluation.texts)
    ]


def write_results(
    folder: Path, evaluation: Evaluation, model: str, split_size: int | None = None
) -> tuple[Path, Path]:
    """Write ``results.json`` and ``samples_TASK.jsonl`` into a folder; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    summary = folder / "results.json"
    summary.write_text(json.dumps(results(evaluation, model, split_size), indent=2) + "\n", "utf-8")
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in samples(evaluation)]
    details = folder / f"samples_{evaluation.task.name}.jsonl"
    details.write_text("".join(lines), "utf-8")
    return summary, details


def _scores(evaluation: Evaluation) -> dict[str, float]:
    flat = {}
    for name, score in evaluation.scores.items():
        count, accuracy = len(score.correct), score.accuracy
        # the harness's standard error of a mean: sample standard deviation over the root of n
        error = (accuracy * (1 - accuracy) / max(1, count - 1)) ** 0.5
        flat[f"{METRIC},{name}"] = accuracy
        flat[f"{METRIC}_stderr,{name}"] = error
    return flat


def _task_config(evaluation: Evaluation) -> dict[str, Any]:
    task = evaluation.task
    return {
        "task": task.name,
        "num_fewshot": task.num_shots,
        "fewshot_source": task.shots,
        "generation_kwargs": {"until": list(task.stops), "do_sample": False},
        "filter_list": [
            {"name": rule.name, "regex_pattern": rule.pattern, "group_select": rule.pick}
            for rule in task.filters
        ],
        "metadata": {"version": task.version, **evaluation.decoding.model_dump()},
    }


def _sample(evaluation: Evaluation, name: str, found: str, index: int) -> dict[str, Any]:
    problem, prompt = evaluation.problems[index], evaluation.prompt_texts[index]
    doc = {"question": problem.question, "answer": problem.answer}
    if problem.suffix:
        doc["suffix"] = problem.suffix
    return {
        "doc_id": index,
        "doc": doc,
        "target": problem.answer,
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {"do_sample": False}}},
        "resps": [[evaluation.texts[index]]],
        "filtered_resps": [found],
        "filter": name,
        "metrics": [METRIC],
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(prompt),
        "target_hash": _hash(problem.answer),
        METRIC: float(exact_match(found, problem.answer)),
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
