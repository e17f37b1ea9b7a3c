"""Searches: programs for the loop, and what derives a genotype."""
