"""Replay-Attack: see README.md."""

from nasfas_datasets import video_builder
from nasfas_datasets.replay_attack import layout


class Builder(video_builder.VideoBuilder):
  """Builds records from the videos of Replay-Attack."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'https://www.idiap.ch/dataset/replayattack'
  layout = layout
