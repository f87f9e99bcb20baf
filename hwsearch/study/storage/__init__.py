"""Where studies live, what they may be called, and who may write next."""
