"""NAS-FAS in JAX: search, train and evaluate face anti-spoofing networks."""
