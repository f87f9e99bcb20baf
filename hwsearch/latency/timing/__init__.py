"""Clocks, and what is timed with them: operators and whole models, by runtime."""
