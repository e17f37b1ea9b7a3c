"""Compare a network with its PyTorch twin (extra `torch`).

python -m nasfas_jax.main --config=compare --config.model=cdcnpp
  Random weights: maps, gradients, times and memory at 64x64, sized for a CPU.
--config=compare --config.checkpoint=runs/search
  The network of a run, on its protocol, with metrics. Also writes weights.pth.
--config=compare:paper --config.model=cdcn \
    --config.torch_weights=CDCN.pth --config.input.fusion=static
  Weights from the public CDCN code. --config=evaluate then accepts the
  workdir as a run.
--config=compare:paper
  CDCN++ at 256x256 in the published sizes, batch size 2. The supernet is timed
  only.
--config=compare:debug
  The smallest comparison.

Where JAX has a GPU and PyTorch finds one too, PyTorch's times and memory are
from there; the page says what ran where.
"""

import ml_collections

from nasfas_configs import search as search_lib
from nasfas_configs import variants as variants_lib


def get_config(variants: str = '') -> ml_collections.ConfigDict:
  """Returns the config with the changes of the variants.

  Raises:
    ValueError: for an unknown variant, or two that exclude each other.
  """
  config = search_lib.get_config()
  config.experiment = 'compare'
  config.model = 'cdcnpp'
  # What both frameworks compute alike.
  config.dtype = 'float32'
  # A file of torch.save: a state_dict of this network.
  config.torch_weights = ''
  config.compare = ml_collections.ConfigDict(
    {
      # 'network' and 'supernet' (differences), 'metrics' (of trained weights),
      # 'speed', 'memory'.
      'sections': ('network', 'supernet', 'metrics', 'speed', 'memory'),
      # Clips of the network's steps, and of the supernet's.
      'batch_size': 8,
      'search_batch_size': 8,
      # Compare the gradients in float64 too, where rounding flips no ReLU.
      'float64': True,
      # Steps of Adam after which the weights are compared.
      'adam_steps': 20,
      # Timed calls of each function.
      'rounds': 7,
      # Time torch.compile too: the network, and the supernet (minutes).
      'compile': True,
      'compile_search': False,
    }
  )
  return variants_lib.compose(config, variants, GROUPS, file='compare.py')


def _paper(config: ml_collections.ConfigDict) -> None:
  search_lib.paper(config)
  config.compare.batch_size = 2
  # At 2, what PyTorch keeps for the backward pass does not fit in 24 GiB.
  config.compare.search_batch_size = 1
  # The supernet's 20 steps would take most of an hour on two cores.
  config.compare.sections = ('network', 'metrics', 'speed', 'memory')
  config.compare.rounds = 5
  # PyTorch's supernet does not recompute, so a timing with remat is unfair.
  config.supernet.remat = False
  config.supernet.edge_loop = False


def _debug(config: ml_collections.ConfigDict) -> None:
  search_lib.debug(config)
  config.compare.adam_steps = 2
  config.compare.rounds = 2


GROUPS = {'size': {'debug': _debug, 'paper': _paper}}
