"""How many states losses freeze and how much they keep of them; no torch, so that forecasts can tell."""

#: Refreshes of each calibration question that are judged. More questions are worth more than more
#: refreshes of the same (studies/proxies/states.py).
PER_QUESTION = 1

#: Memory for what layers put out on the states, so that a plan starts at its first new layer.
ACTIVATION_BYTES = 2 << 30

#: Vocabularies up to this size are kept whole.
WHOLE_VOCABULARY = 1 << 15

#: Most probable tokens that are kept of a position, at least and at most; and the probability that may be
#: left to the others, unless that takes more tokens.
LEAST_KEPT, MOST_KEPT, REST = 64, 2048, 1e-3

#: Problems that decodings are priced on: fewer rank decodings as well, and keep the order of plans with
#: one decoding less (studies/proxies/decoding.py).
DEFAULT_PROBLEMS = 64
