"""Golden subsets: as their authors choose them, and by an index."""
