"""Time this machine: operators into a table, whole models to calibrate their sums."""
