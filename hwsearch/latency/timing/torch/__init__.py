"""Operators and whole models on torch's own kernels, for GPUs."""
