"""Print what of the clips, beside faces, tells their label.

python -m nasfas_jax.main --config=audit \
    --config.protocol=oulu_npu/1
  All prepared clips of the protocol's datasets are looked at.
"""

import ml_collections

from nasfas_configs import default as default_lib
from nasfas_configs import variants as variants_lib


def get_config(variants: str = '') -> ml_collections.ConfigDict:
  """Returns the config, which has no variants."""
  config = default_lib.get_config()
  config.experiment = 'audit'
  return variants_lib.compose(config, variants, {}, file='audit.py')
