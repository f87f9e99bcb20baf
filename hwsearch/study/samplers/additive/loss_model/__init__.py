"""The model of the loss behind the sampler: a Gaussian process, additive with pairs."""
