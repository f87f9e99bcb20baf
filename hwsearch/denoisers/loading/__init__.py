"""A bundled name, a folder, a GGUF file or a hub id → a denoiser, without running code that comes with it."""
