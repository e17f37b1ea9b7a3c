"""PyTorch with one thread: the test processes share few cores."""

import importlib.util

if importlib.util.find_spec('torch'):
  import torch

  torch.set_num_threads(1)
