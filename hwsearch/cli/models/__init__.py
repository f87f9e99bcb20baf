"""Verbs about one model, its task and its sinks."""
