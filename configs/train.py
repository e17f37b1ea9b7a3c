"""Train a network and evaluate it.

python -m nasfas_jax.main --config=train \
    --config.genotype=runs/search/genotype.json --workdir=runs/train
  A searched network, sized for a CPU: about four minutes on two CPU cores.
--config=train --config.model=cdcnpp
  CDCN++ (or cdcn) at the same width, instead of a genotype.
--config=train:debug, :paper, :bf16 or :paper,bf16
  The variants of configs/search.py that affect training.
"""

import ml_collections

from nasfas_configs import default as default_lib
from nasfas_configs import search as search_lib
from nasfas_configs import variants as variants_lib

GROUPS = {'size': search_lib.SIZES, 'dtype': search_lib.DTYPES}


def get_config(variants: str = '') -> ml_collections.ConfigDict:
  """Returns the default config with the changes of the variants.

  Raises:
    ValueError: for an unknown variant, or two that exclude each other.
  """
  config = default_lib.get_config()
  config.experiment = 'train'
  return variants_lib.compose(config, variants, GROUPS, file='train.py')
