"""SiW-Mv2: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.siw_mv2 import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the videos of SiW-Mv2."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'https://github.com/CHELSEA234/Multi-domain-learning-FAS'
  layout = layout
