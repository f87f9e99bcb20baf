"""Which masks of a block are written after a pass: by schedule, by policy, or by a forecast."""
