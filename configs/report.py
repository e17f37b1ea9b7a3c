"""Show finished runs side by side on one page.

python -m nasfas_jax.main --config=report \\
    --config.workdirs=runs/search,runs/cdcnpp
  Writes runs/report/index.html: figures, DET curves, genotypes and worst
  mistakes. The workdirs are of trainings or of evaluations.
"""

import ml_collections

from nasfas_configs import variants as variants_lib


def get_config(variants: str = '') -> ml_collections.ConfigDict:
  """Returns the config, which has no variants."""
  config = ml_collections.ConfigDict()
  config.experiment = 'report'
  # Workdirs, separated by commas.
  config.workdirs = ''
  return variants_lib.compose(config, variants, {}, file='report.py')
