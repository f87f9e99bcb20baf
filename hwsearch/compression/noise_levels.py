"""Noise levels that calibration looks at; no torch, so that forecasts can tell."""

#: Noise levels of calibration: shares of the tokens that are masked, but for `EPS`.
TIMES = tuple(step / 10 for step in range(1, 11))

#: Least chance of a token to be masked.
EPS = 1e-3
