"""What is seen of a bundle's graphs before any of them runs."""
