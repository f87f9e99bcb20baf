"""Jobs about exported bundles."""
