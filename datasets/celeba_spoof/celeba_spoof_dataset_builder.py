"""CelebA-Spoof: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.celeba_spoof import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the pictures of CelebA-Spoof."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'https://github.com/ZhangYuanhan-AI/CelebA-Spoof'
  layout = layout
