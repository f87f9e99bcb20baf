"""A bundle's graphs: pieces traced by shape, and put together."""
