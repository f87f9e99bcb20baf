"""What the picture of decoding is drawn from: in which pass gsm-mini writes each token of one answer.

python docs/pictures/record.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import hwsearch as hw
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generation
from hwsearch.denoisers.backends import backend_of

QUESTION = (
    "A bus has 13 people. At the first stop 3 leave and 17 get on. At the next stop 14 get on. "
    "How many people are on the bus?"
)
CHANGES = {
    "the makers' schedule": {},
    "threshold 0.9, stop, advance": {
        "commit": {"policy": "threshold", "threshold": 0.9},
        "stop_at_end": True,
        "window": {"advance": True},
    },
}


def main() -> None:
    """Write passes.json beside this file."""
    denoiser = hw.load_denoiser("gsm-mini")
    prompt = denoiser.prompt(QUESTION)
    found = {}
    for name, changes in CHANGES.items():
        wrote = generation(
            backend_of(denoiser.network, KeptShares.keeping_all(denoiser.num_layers)),
            np.array([prompt]),
            denoiser.decoding.changed(changes),
            denoiser.mask_token_id,
            end_tokens=denoiser.end_token_ids,
        )
        found[name] = {
            "written": wrote.written[0].tolist(),
            "passes": [record.call.shape.kind.value for record in wrote.passes],
        }
        answer = wrote.tokens[0, len(prompt) :]
        found[name]["tokens"] = [denoiser.tokenizer.id_to_token(int(token)) for token in answer]
    text = json.dumps({"question": QUESTION, "decodings": found}, indent=None)
    (Path(__file__).parent / "passes.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
