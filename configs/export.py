"""Export a trained network: files that run without this package, and a card.

python -m nasfas_jax.main --config=export \
    --config.checkpoint=runs/search
  Writes runs/search/export; needs the extra `export`. Every file is loaded
  again and compared with the network. See docs/exporting.md.
--config.formats="('orbax','onnx')"
  Only these.
"""

import ml_collections
from ml_collections import config_dict

from nasfas_configs import variants as variants_lib


def get_config(variants: str = '') -> ml_collections.ConfigDict:
  """Returns the config, which has no variants."""
  config = ml_collections.ConfigDict()
  config.experiment = 'export'
  # The workdir of a finished run.
  config.checkpoint = ''
  # 'orbax' (nasfas_jax.load reads it), 'onnx', 'int8' (needs 'onnx' and the
  # clips of the run), 'stablehlo', 'litert' (extra `litert`).
  config.formats = ('orbax', 'onnx', 'int8', 'stablehlo')
  # Take the batch statistics and the threshold that --config=calibrate has
  # adapted to a place, in place of the run's own.
  config.adapted = False
  # Side of the wide crops, as in configs/predict.py: for a run on a dataset
  # whose preparation is not known.
  config.crop_size = config_dict.placeholder(int)
  # Folder of prepared datasets; '' is that of the run.
  config.data_dir = ''
  # Training clips that set the ranges of int8.
  config.calibration_clips = 64
  # Clips of the run, beside the generated ones, on which files are compared.
  config.compared_clips = 16
  # What the model card says about the training data's licence.
  config.data_licence = 'unknown'
  return variants_lib.compose(config, variants, {}, file='export.py')
