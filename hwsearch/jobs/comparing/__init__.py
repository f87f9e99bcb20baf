"""Plans of a study, or of a model, compared on several devices."""
