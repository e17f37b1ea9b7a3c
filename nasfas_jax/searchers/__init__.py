"""Searches: each gives a program for the loop and derives a genotype."""
