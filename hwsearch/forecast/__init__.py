"""Forecasts of a pass from the passes before it: tokens written without running the model."""
