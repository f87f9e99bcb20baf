"""Verbs about exported bundles."""
