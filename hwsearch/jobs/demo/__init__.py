"""The whole job on the bundled model: a target, a search, a contest, and what each lever brought."""
