"""What a gsm-mini model knows, piece by piece: labels, operands, operators, results, copies.

    python studies/gsm-mini/diagnose.py gsm-mini --limit 200

Every step of a worked solution is masked from some token on, and the model's best guess for one
token is compared with the truth. A model that copies operands but cannot add shows up at once.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict

import torch

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.tasks.problem import Problem
from hwsearch.tasks.task import GSM_MINI

#: Tokens of a step, ``bought <<3*4=12>>12\n``, and where its pieces are in it.
STEP = 10
PIECES = {"label": 0, "left operand": 2, "operator": 3, "right operand": 4}
RESULT, COPY = 6, 8


def guess(denoiser: Denoiser, prompt: list[int], answer: list[int], masked: range, at: int) -> bool:
    """Whether the token at `at` is guessed right with `masked` positions of the answer masked."""
    shown = [denoiser.mask_token_id if i in masked else token for i, token in enumerate(answer)]
    logits = denoiser.logits(torch.tensor([prompt + shown]))
    return int(logits[0, len(prompt) + at].argmax()) == answer[at]


def pieces(denoiser: Denoiser, problem: Problem):
    """(piece, whether it was guessed right) for every step of a problem."""
    encoding = denoiser.tokenizer.encode(problem.answer)
    length = denoiser.decoding.gen_length
    answer = encoding.ids + [denoiser.end_token_id] * (length - len(encoding.ids))
    prompt = denoiser.prompt(problem.question)
    for first in range(0, encoding.tokens.index("####"), STEP):
        for piece, offset in PIECES.items():
            yield piece, guess(denoiser, prompt, answer, range(first, length), first + offset)
        operator = encoding.tokens[first + PIECES["operator"]]
        result = range(first + RESULT, length)
        yield f"result of {operator}", guess(denoiser, prompt, answer, result, first + RESULT)
        copy = range(first + COPY, length)
        yield "copy of the result", guess(denoiser, prompt, answer, copy, first + COPY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--limit", type=int, default=200)
    arguments = parser.parse_args()
    denoiser = load_denoiser(arguments.model)
    found: dict[str, list[bool]] = defaultdict(list)
    for problem in GSM_MINI.problems("validation", arguments.limit, 0):
        for piece, right in pieces(denoiser, problem):
            found[piece].append(right)
    shares = {piece: round(sum(right) / len(right), 4) for piece, right in sorted(found.items())}
    print(json.dumps(shares, indent=2))


if __name__ == "__main__":
    main()
