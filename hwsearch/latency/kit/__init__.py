"""A folder that times a device without hwsearch, and the way back from its results."""
