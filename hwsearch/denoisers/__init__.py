"""A masked-diffusion language model as one object: its network, its loading, its sizes."""
