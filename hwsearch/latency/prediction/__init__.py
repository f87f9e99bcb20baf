"""Plan + device → milliseconds and joules, calibrated on whole-model runs."""
