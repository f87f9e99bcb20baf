"""What a model is, by content, and what was found out of it, kept on disk."""
