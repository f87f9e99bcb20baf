"""Linears as torch modules: in a format, or with weights that stay in files."""
