"""A device as a folder: what it is, what its operators cost, how far to trust it."""
