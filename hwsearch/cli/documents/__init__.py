"""What ``--json`` prints: a model a verb, in one place, from which JSON Schema is made."""
