"""A GGUF file, as llama.cpp writes it → the same values that a model folder is read into."""
