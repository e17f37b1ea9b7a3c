"""Many small runs, their statistics and their pages."""
