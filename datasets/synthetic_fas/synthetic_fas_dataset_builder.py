"""synthetic_fas: rendered clips of live faces and of attacks on them."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds

from nasfas_datasets import fas_builder
from nasfas_datasets.synthetic_fas import plan, render, rooms
from nasfas_jax import records, stored_frames

FPS = 8.0


@dataclasses.dataclass
class SyntheticConfig(tfds.core.BuilderConfig):
  """One benchmark: how many clips, from which seed."""

  seed: int = 0

  @property
  def size(self) -> plan.Size:
    return plan.SIZES[self.name]


class Builder(fas_builder.FasBuilder):
  """Renders the clips of a plan; there is nothing to download."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First version; the simulator is frozen.'}
  BUILDER_CONFIGS = [
    SyntheticConfig(
      name='default', seed=0, description='2400 clips of 100 subjects.'
    ),
    SyntheticConfig(
      name='tiny', seed=1, description='96 clips of 6 subjects, for tests.'
    ),
  ]

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    del dl_manager
    clips = plan.make_plan(self.builder_config.size)
    return {
      split: self._generate_examples(
        [clip for clip in clips if clip.split == split], len(clips)
      )
      for split in records.SPLITS
    }

  def _generate_examples(
    self, clips: Sequence[plan.Clip], total: int
  ) -> Iterator[tuple[str, dict[str, object]]]:
    for clip, frames, depth, face_box in render.render(
      clips, self.builder_config.seed
    ):
      domain = rooms.DOMAINS[clip.domain]
      yield (
        clip.clip_id,
        fas_builder.make_record(
          clip_id=clip.clip_id,
          dataset='synthetic_fas',
          subject=clip.subject_id,
          split=clip.split,
          label=int(clip.attack_type == 'live'),
          attack_type=clip.attack_type,
          attack_detail=clip.medium,
          session=domain.name,
          camera=domain.camera,
          light=domain.light,
          medium=clip.medium,
          frames=[stored_frames.encode(frame) for frame in frames],
          frame_index=np.arange(len(frames)),
          face_box=face_box,
          depth=depth,
          fps=FPS,
        ),
      )
      if self.progress is not None:
        self.progress(clip.index + 1, total)
