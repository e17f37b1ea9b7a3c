"""Example-FAS: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.example_fas import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the videos of Example-FAS."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'https://example.org/example_fas'
  layout = layout
