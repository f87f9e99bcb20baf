"""gsm-mini: word problems generated from templates."""
