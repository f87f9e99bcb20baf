"""Answers of a bundle, with onnxruntime, numpy and tokenizers alone.

pip install "hwsearch[runtime]"
python examples/run_without_torch.py BUNDLE [QUESTION]
"""

from __future__ import annotations

import sys

from hwsearch.runtime import Runtime

QUESTION = (
    "Mia has 12 apples. Mia buys 3 bags with 4 apples each. How many apples does Mia have now?"
)


def main(bundle: str, question: str = QUESTION) -> None:
    before = set(sys.modules)
    runtime = Runtime(bundle, threads=1)
    answer = runtime.generate(question, on_text=lambda text: print(text, "\n"))
    print("answer:", answer)
    print("torch was loaded:", "torch" in set(sys.modules) - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
