r"""GSM8K asked and scored as lm-evaluation-harness does (tasks ``gsm8k`` and ``gsm8k_cot``, 3.0).

The problems are read from a file, a folder with ``train.jsonl`` and ``test.jsonl``, or the hub.

``gsm8k``      five shots before each question, drawn from the train split in one stream of draws
               that runs through the questions, so a shorter run asks its questions alike.
``gsm8k_cot``  eight fixed shots. The harness's own eight are from the chain-of-thought paper
               (arXiv 2201.11903, appendix) and are not shipped here: give them as `shots`,
               read from a JSONL file, to score comparably. Without them, eight train problems
               rewritten to end in ``The answer is N.`` stand in; such a score is near the
               published setting, not equal to it, and the results say which shots were used.

Diffusion models write past a stop; what they wrote is cut at the first stop afterwards.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from hwsearch.errors import InputError, UnknownNameError
from hwsearch.tasks.extraction import COT_STRICT, FLEXIBLE, STRICT
from hwsearch.tasks.problem import Problem, half_of, read_problems
from hwsearch.tasks.task import Task

#: The hub's copy of the data set.
HUB_ID = "openai/gsm8k"

#: Seed of the harness's draw of shots.
SHOT_SEED = 1234

SPLITS = ("train", "test", "calibration", "validation")

STOPS = ("Question:", "</s>", "<|im_end|>")
COT_STOPS = ("Q:", "</s>", "<|im_end|>")

#: How names on the hub look: an owner and a name, neither of which begins with a dot.
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")

_NOTE = re.compile(r"<<.*?>>")


def read_split(source: str | Path | None, split: str) -> list[Problem]:
    """Problems of one split.

    Args:
        source: a JSONL file, taken for every split; a folder with a JSONL file a split; the hub id of a
            copy, ``owner/name``; or None for the hub's own.
        split: ``train`` or ``test``; ``calibration`` is the train split's first half and
            ``validation`` its second, from the end.

    Raises:
        UnknownNameError: there is no such split.
        InputError: the file or the hub cannot be read.
    """
    if split not in SPLITS:
        raise UnknownNameError("split of gsm8k", split, SPLITS)
    if split in ("calibration", "validation"):
        return half_of(read_split(_beside(source), "train"), split)
    check_source(source)
    if source is None or _is_hub_id(source):
        return _from_hub(split, HUB_ID if source is None else str(source))
    path = Path(source)
    return read_problems(path / f"{split}.jsonl" if path.is_dir() else path)


def check_source(source: str | Path | None) -> None:
    """See that there is something at a path; a name on the hub is not looked up.

    Raises:
        InputError: there is nothing.
    """
    if source is None or Path(source).exists() or _is_hub_id(source):
        return
    folder = Path(source).parent
    there = (
        f"folder {folder} has none" if folder.is_dir() else f"there is no folder {folder} either"
    )
    raise InputError(
        f"there is no file or folder {source} with problems ({there}); give a JSONL file, a folder with "
        "train.jsonl and test.jsonl, or a hub id such as openai/gsm8k"
    )


def gsm8k(
    source: str | Path | None = None,
    shots: Sequence[Problem] | None = None,
    num_shots: int = 5,
    seed: int = SHOT_SEED,
) -> Task:
    """The task ``gsm8k``.

    Args:
        source: where the problems are; see `read_split`.
        shots: problems that shots are drawn from; None takes the train split beside `source`.
        num_shots: solved problems in a prompt.
        seed: of the draw of the shots.

    Raises:
        InputError: the problems or the shots cannot be read.
    """
    check_source(source)
    pool = _pool(source, shots, num_shots)
    drawn: list[str] = []
    rng = random.Random(seed)

    def context(index: int) -> str:
        while len(drawn) <= index:
            drawn.append("".join(_shot(problem) for problem in rng.sample(pool, num_shots)))
        return drawn[index]

    return Task(
        name="gsm8k",
        problems=_reader(source),
        prompt=lambda index, problem: context(index) + _question(problem),
        filters=(STRICT, FLEXIBLE),
        stops=STOPS,
        num_shots=num_shots,
        shot_seed=seed,
        shots="train split" if shots is None else "given",
    )


def gsm8k_cot(
    source: str | Path | None = None,
    shots: Sequence[Problem] | None = None,
    num_shots: int = 8,
    seed: int = SHOT_SEED,
) -> Task:
    """The task ``gsm8k_cot``; arguments as `gsm8k`, but given `shots` are used as they are.

    Raises:
        InputError: the problems or the shots cannot be read.
    """
    check_source(source)
    pool = _pool(source, shots, num_shots)
    fixed = pool[:num_shots] if shots is not None else random.Random(seed).sample(pool, num_shots)
    context = "".join(f"Q: {p.question}\nA: {cot_answer(p.answer)}\n\n" for p in fixed)
    return Task(
        name="gsm8k_cot",
        problems=_reader(source),
        prompt=lambda index, problem: f"{context}Q: {problem.question}\nA:",
        filters=(COT_STRICT, FLEXIBLE),
        stops=COT_STOPS,
        num_shots=num_shots,
        shot_seed=seed,
        shots="train split, rewritten" if shots is None else "given",
    )


def cot_answer(answer: str) -> str:
    """A worked solution as a chain of thought.

    Calculator notes go, lines are joined, and the end is ``The answer is N.``; a text that has no
    ``####`` line is a chain of thought already and stays as it is.

    >>> cot_answer("Half of 48 is <<48/2=24>>24.\\n#### 24")
    'Half of 48 is 24. The answer is 24.'
    """
    if "####" not in answer:
        return answer
    reasoning, _, number = answer.rpartition("####")
    lines = _NOTE.sub("", reasoning).split("\n")
    return " ".join([*(line.strip() for line in lines if line.strip()), "The answer is"]) + (
        f" {number.strip()}."
    )


def _question(problem: Problem) -> str:
    return f"Question: {problem.question}\nAnswer:"


def _shot(problem: Problem) -> str:
    return f"{_question(problem)} {problem.answer}\n\n"


def _reader(source: str | Path | None) -> Callable[[str, int, int], list[Problem]]:
    """Reads the first problems of a split, in file order as the harness does, whatever the seed."""

    def read(split: str, count: int, seed: int) -> list[Problem]:
        del seed
        return read_split(source, split)[:count]

    return read


def _pool(
    source: str | Path | None, shots: Sequence[Problem] | None, num_shots: int
) -> list[Problem]:
    """Problems to draw shots from."""
    if num_shots == 0:
        return []
    if shots is None:
        shots = read_split(_beside(source), "train")
    if len(shots) < num_shots:
        raise InputError(f"{num_shots} shots need at least as many problems, got {len(shots)}")
    return list(shots)


def _beside(source: str | Path | None) -> str | Path | None:
    """Where the train split is: beside a file of one split."""
    return Path(source).parent if source is not None and Path(source).is_file() else source


def _is_hub_id(source: str | Path) -> bool:
    """Whether a place can only be on the hub, where a mistyped path would be looked for half a minute.

    A path is what is there, what ends as a file does (``.jsonl``, where ``v1.2`` is a name's), and what
    would lie in a folder that is there.
    """
    path = Path(source)
    is_name = _HUB_NAME.fullmatch(str(source)) and not path.suffix[1:].isalpha()
    return bool(is_name) and not path.exists() and not path.parent.exists()


def _from_hub(split: str, hub_id: str) -> list[Problem]:
    try:
        import pandas as pd
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise InputError(
            "reading gsm8k from the hub needs huggingface-hub and pandas: "
            'pip install "hwsearch[search,hub]" pyarrow, or give a path to its JSONL files'
        ) from error
    try:
        path = hf_hub_download(hub_id, f"main/{split}-00000-of-00001.parquet", repo_type="dataset")
        frame = pd.read_parquet(path)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"cannot fetch {hub_id} from the hub ({reason}); give a path to its JSONL files"
        ) from error
    return [Problem(q, a) for q, a in zip(frame["question"], frame["answer"], strict=True)]
