"""The methods of forecasts: what each is fitted to be, and how it forecasts."""
