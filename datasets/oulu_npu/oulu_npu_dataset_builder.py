"""OULU-NPU: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.oulu_npu import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the videos of OULU-NPU."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'https://sites.google.com/site/oulunpudatabase/'
  layout = layout
