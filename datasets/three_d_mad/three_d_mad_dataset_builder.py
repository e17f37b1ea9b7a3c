"""3DMAD: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.three_d_mad import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the videos of 3DMAD."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'https://www.idiap.ch/dataset/3dmad'
  layout = layout
