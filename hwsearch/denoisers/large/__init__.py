"""Models that do not fit into memory as floats."""
