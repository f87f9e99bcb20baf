"""Contracts and tiny denoisers for tests, shipped for whoever adds a device, format or model."""
