"""Operators: arrays in, arrays out, no parameters."""
