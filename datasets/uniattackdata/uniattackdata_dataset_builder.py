"""UniAttackData: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.uniattackdata import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the pictures of UniAttackData."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'https://sites.google.com/view/face-anti-spoofing-challenge'
  layout = layout
