"""MSU-MFSD: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.msu_mfsd import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the videos of MSU-MFSD."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'http://www.cse.msu.edu/rgroups/biometrics/Publications/Databases/MSUMobileFaceSpoofing/index.htm'
  layout = layout
