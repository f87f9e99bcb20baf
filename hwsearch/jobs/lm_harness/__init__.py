"""hwsearch's models and bundles as a model of lm-evaluation-harness."""
