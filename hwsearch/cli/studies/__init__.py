"""Verbs about studies: search, front, demo."""
