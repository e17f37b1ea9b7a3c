"""Print all protocols, with the numbers of clips that are prepared here.

python -m nasfas_jax.main --config=protocols
"""

import ml_collections

from nasfas_configs import default as default_lib
from nasfas_configs import variants as variants_lib


def get_config(variants: str = '') -> ml_collections.ConfigDict:
  """Returns the config, which has no variants."""
  config = default_lib.get_config()
  config.experiment = 'protocols'
  return variants_lib.compose(config, variants, {}, file='protocols.py')
