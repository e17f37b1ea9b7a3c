"""Train a network and evaluate it.

python -m nasfas_jax.main --config=configs/train.py \
    --config.genotype=runs/search/genotype.json --workdir=runs/train
  A searched network, at the CPU size: about three minutes on two CPU cores.
--config=configs/train.py --config.model=cdcnpp
  CDCN++ (or cdcn) at the same width, instead of a genotype.
--config=configs/train.py:debug, --config=configs/train.py:paper
  The variants of configs/search.py.
"""

import ml_collections

from configs import search as search_lib


def get_config(variant: str = 'default') -> ml_collections.ConfigDict:
  """Returns the training part of a search config's variant."""
  config = search_lib.get_config(variant)
  config.experiment = 'train'
  return config
