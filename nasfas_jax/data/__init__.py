"""Protocols and the input pipeline: NumPy and grain only, no JAX."""
