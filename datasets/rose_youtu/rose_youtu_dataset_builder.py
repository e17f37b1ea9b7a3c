"""Rose-Youtu: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.rose_youtu import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the videos of Rose-Youtu."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'https://rose1.ntu.edu.sg/dataset/faceLivenessDetection/'
  layout = layout
