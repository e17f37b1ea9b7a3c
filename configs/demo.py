"""A page on this machine that judges pictures, videos and the camera.

python -m nasfas_jax.main --config=demo \\
    --config.checkpoint=runs/search
  Prints the address of the page, http://127.0.0.1:7860. Needs the extra `demo`.
  See docs/demo.md.
--config.port=0
  Takes a free port.
"""

import ml_collections

from nasfas_configs import predict as predict_lib
from nasfas_configs import variants as variants_lib


def get_config(variants: str = '') -> ml_collections.ConfigDict:
  """Returns the config, which has no variants."""
  config = predict_lib.get_config()
  config.experiment = 'demo'
  # The page brings the files, and shows what was made of them.
  del config.input, config.output, config.output_videos, config.camera
  del config.limits.files
  # What is dropped waits in a temporary folder.
  config.limits.file_mib = 256
  # The address that the page is served at. Another one than this machine's own
  # opens it to the network, without a password or encryption.
  config.host = '127.0.0.1'
  # 0 takes a free one.
  config.port = 7860
  return variants_lib.compose(config, variants, {}, file='demo.py')
