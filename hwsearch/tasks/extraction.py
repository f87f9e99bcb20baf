r"""Finding the answer in a text, by the rules of lm-evaluation-harness (`gsm8k`, `gsm8k_cot`, 3.0).

The rules are followed to the letter, quirks included, so that scores compare with published
ones: ``12.0`` is not ``12``; ``gsm8k_cot``'s strict rule ends in an unescaped dot, so a text that
ends in ``The answer is 18`` yields ``1``, and ``The answer is $18.`` yields nothing at all.

    >>> STRICT.extract("48 / 2 = 24\n#### 24"), FLEXIBLE.extract("so she has $1,024.")
    ('24', '$1,024.')
    >>> exact_match("$1,024.", "48 / 2 = 24\n#### 1024")
    True
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: What a filter answers where a text holds no answer.
INVALID = "[invalid]"


@dataclass(frozen=True)
class Filter:
    """A rule that finds the answer in a text.

    Attributes:
        name: as the harness calls it.
        pattern: regular expression; an answer is the first of its groups that is not empty.
        pick: which of all matches counts; 0 the first, -1 the last.
    """

    name: str
    pattern: str
    pick: int

    def extract(self, text: str) -> str:
        """The answer in `text`, or `INVALID`."""
        matches = list(re.finditer(self.pattern, text))
        if not matches:
            return INVALID
        groups = matches[self.pick].groups()
        return next((group.strip() for group in groups if group), INVALID)


STRICT = Filter("strict-match", r"#### (\-?[0-9\.\,]+)", 0)
COT_STRICT = Filter("strict-match", r"The answer is (\-?[0-9\.\,]+).", 0)
FLEXIBLE = Filter("flexible-extract", r"(-?[$0-9.,]{2,})|(-?[0-9]+)", -1)

#: What `exact_match` deletes from both sides, in this order.
IGNORED = (r",", r"\$", r"(?s).*#### ", r"\.$")


def normalise(text: str) -> str:
    """`text` without commas, dollars, anything up to ``#### `` and a last full stop; lower case."""
    for pattern in IGNORED:
        text = re.sub(pattern, "", text)
    return text.lower()


def exact_match(prediction: str, reference: str) -> bool:
    """Whether two answers are the same text once both are normalised."""
    return normalise(prediction) == normalise(reference)
