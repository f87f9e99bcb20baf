"""The sections of a page, one a file: facts in, a `Section` out."""
