"""What a search may choose, and what each choice costs: exact sums over the choices of a plan."""
