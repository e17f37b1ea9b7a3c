"""PyTorch with one thread: the test processes share few cores.

The processes that a comparison starts take what the tests compiled.
"""

import importlib.util
import os

import jax

os.environ.setdefault(
  'JAX_COMPILATION_CACHE_DIR', jax.config.jax_compilation_cache_dir
)

if importlib.util.find_spec('torch'):
  import torch

  torch.set_num_threads(1)
