"""The experiment 'compare': a network here and in PyTorch, side by side."""
