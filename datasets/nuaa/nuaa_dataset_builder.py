"""NUAA: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.nuaa import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the pictures of NUAA."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'http://parnec.nuaa.edu.cn/'
  layout = layout
