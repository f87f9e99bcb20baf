"""A bundled name, a folder or a hub id → a denoiser, without running code that comes with it."""
