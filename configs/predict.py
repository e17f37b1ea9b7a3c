"""Score pictures, videos or a camera with a trained network.

python -m nasfas_jax.main --config=predict \
    --config.checkpoint=runs/search --config.input=photos
  One JSON line on stdout for each file; progress goes to stderr. The input is a
  file, a folder (with all folders in it), a pattern such as 'clips/*.mp4', or
  the number of a camera. See docs/predicting.md.
--config.output=seen
  Also writes a picture for each file: the face box, what the network saw, its
  map, and for videos the score over time.
"""

import ml_collections
from ml_collections import config_dict

from nasfas_configs import variants as variants_lib


def get_config(variants: str = '') -> ml_collections.ConfigDict:
  """Returns the config, which has no variants."""
  config = ml_collections.ConfigDict()
  config.experiment = 'predict'
  # The workdir of a finished run.
  config.checkpoint = ''
  # A file, a folder, a pattern, or the number of a camera.
  config.input = ''
  # Folder of the annotated pictures; '' writes none.
  config.output = ''
  # Also an annotated video (.avi) of each video that has a score.
  config.output_videos = False
  # 'detector' finds the face (extra `prepare`). 'whole_frame' is for a network
  # that was trained on clips without face boxes, and '' takes it for such a
  # one, else 'detector'.
  config.face = ''
  # The face box in all files, as in a manifest: 'x0,y0,x1,y1' in pixels, x1 and
  # y1 exclusive. It replaces config.face.
  config.box = ''
  # Folder of the face models; '' is the default of fetch_face_models.
  config.face_models = ''
  # Live is a score above it; None: the threshold of the run.
  config.threshold = config_dict.placeholder(float)
  # Take the batch statistics and the threshold that --config=calibrate has
  # adapted to a place, in place of the run's own.
  config.adapted = False
  # 'refuse' or 'decide': a clip without motion, for a network that was trained
  # on motion.
  config.stills = 'refuse'
  # 'refuse' or 'largest': a clip that shows several faces of similar size.
  config.several_faces = 'refuse'
  # Side of the wide crops; None: that of the run's dataset.
  config.crop_size = config_dict.placeholder(int)
  config.camera = ml_collections.ConfigDict(
    {
      # Length of a clip, and the number of clips; 0 goes on until Ctrl-C.
      'seconds': 2.0,
      'clips': 1,
    }
  )
  # The largest input that is read.
  config.limits = ml_collections.ConfigDict(
    {
      'file_mib': 1024,
      # Of a picture or of a frame.
      'megapixels': 50,
      # Of a video.
      'frames': 36_000,
      # Files of a folder or a pattern.
      'files': 100_000,
    }
  )
  return variants_lib.compose(config, variants, {}, file='predict.py')
