"""CASIA-SURF: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.casia_surf import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the colour frames of CASIA-SURF."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'https://sites.google.com/view/face-anti-spoofing-challenge'
  layout = layout
