"""NAS-FAS in JAX: search, train and judge face anti-spoofing networks."""
