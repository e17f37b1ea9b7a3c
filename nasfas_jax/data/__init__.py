"""Protocols and the input pipeline: NumPy, OpenCV, TFDS, grain; no JAX."""
