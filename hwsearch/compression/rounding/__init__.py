"""Rounding by what linears see: scales and numbers chosen by the error that they leave in the outputs."""
