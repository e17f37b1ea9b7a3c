"""CASIA-MFSD: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.casia_mfsd import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the videos of CASIA-MFSD."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'http://www.cbsr.ia.ac.cn/english/FaceAntiSpoofDatabases.asp'
  layout = layout
