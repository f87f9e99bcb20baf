"""Verbs about devices: profile, predict, compare."""
