"""CASIA-SURF 3DMask: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.casia_surf_3dmask import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the videos of CASIA-SURF 3DMask."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = ''
  layout = layout
