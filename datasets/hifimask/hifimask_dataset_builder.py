"""CASIA-SURF HiFiMask: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.hifimask import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the frames of CASIA-SURF HiFiMask."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'https://sites.google.com/view/face-anti-spoofing-challenge'
  layout = layout
