"""How a network learns: one loop for proxy and full training."""
