"""How the network of `processing.film_audit` was trained: on drawn chests, side views and other pictures."""
