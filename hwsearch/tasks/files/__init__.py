"""Problems of a user's own, in files."""
