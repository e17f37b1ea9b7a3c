"""SiW: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.siw import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the videos of SiW."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'http://cvlab.cse.msu.edu/siw-spoof-in-the-wild-database.html'
  layout = layout
