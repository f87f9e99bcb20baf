"""Devices from benchmarks of whole models, such as llama.cpp's: a roofline fitted to a few passes."""
