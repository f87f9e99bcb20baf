"""Samplers by name; `additive` is our own."""
