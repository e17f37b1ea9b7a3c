"""HKBU-MARs V2: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.hkbu_mars_v2 import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the videos of HKBU-MARs V2."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'http://rds.comp.hkbu.edu.hk/mars/'
  layout = layout
