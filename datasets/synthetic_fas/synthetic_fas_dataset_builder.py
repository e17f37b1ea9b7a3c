"""synthetic_fas: rendered clips of live faces and of attacks on them."""

import dataclasses
import functools
import pathlib
import shutil
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds

from nasfas_datasets import fas_builder
from nasfas_datasets.synthetic_fas import plan, render, rooms
from nasfas_datasets.synthetic_fas.v2 import carriers
from nasfas_datasets.synthetic_fas.v2 import plan as v2_plan
from nasfas_datasets.synthetic_fas.v2 import render as v2_render
from nasfas_jax import records, stored_frames

FPS = 8.0
# Of the frames before compression: hosts divide the records, not the files.
_SHARD_BYTES = 64 << 20


@dataclasses.dataclass
class SyntheticConfig(tfds.core.BuilderConfig):
  """One benchmark: how many clips, from which seed."""

  seed: int = 0


class Builder(fas_builder.FasBuilder):
  """Renders the clips of a plan; there is nothing to download.

  Each version has a simulator of its own: 1.0.0 the modules beside this one,
  2.0.0 those in `v2`.
  """

  # TFDS builds this one and the newest; see `__init__` for the default.
  VERSION = tfds.core.Version('1.0.0')
  SUPPORTED_VERSIONS = [tfds.core.Version('2.0.0')]
  RELEASE_NOTES = {
    '1.0.0': 'First version; the simulator is frozen.',
    '2.0.0': 'Rooms, cameras and media drawn from written distributions; the '
    'simulator is frozen.',
  }
  BUILDER_CONFIGS = [
    SyntheticConfig(
      name='default', seed=0, description='Clips of 80x80 pixels.'
    ),
    SyntheticConfig(
      name='tiny', seed=1, description='Clips of 6 subjects, for tests.'
    ),
    SyntheticConfig(
      name='large',
      version='2.0.0',
      description='20,160 clips of 128x128 pixels in 24 rooms.',
    ),
    SyntheticConfig(
      name='many',
      version='2.0.0',
      description='Default, and 224 more subjects to train on.',
    ),
    SyntheticConfig(
      name='wide',
      version='2.0.0',
      description='The clips of default, cropped 2.72 face sizes wide.',
    ),
  ]

  def __init__(self, *, version: str | None = None, **kwargs):
    """As in the base class; without a version, the newest."""
    super().__init__(version=version or 'experimental_latest', **kwargs)

  @classmethod
  def versions_of(cls, config: str | None) -> list[str]:
    """The versions that can be built of a config; the first is the default."""
    for known in cls.BUILDER_CONFIGS:
      if known.name == config and known.version is not None:
        return [str(known.version)]
    return super().versions_of(config)[::-1]

  @property
  def num_finished(self) -> int:
    """The number of clips that a stopped build has finished."""
    if str(self.version) == '1.0.0':
      return 0
    return v2_render.CHUNK * len(list(self._chunks.glob('clips-*.npz')))

  @property
  def _chunks(self) -> pathlib.Path:
    """The folder of what is rendered and not yet in shards."""
    return pathlib.Path(self.data_dir).parent / f'finished-{self.version}'

  def _write_shards(self, dl_manager, download_config) -> None:
    if str(self.version) == '1.0.0':
      super()._write_shards(dl_manager, download_config)
      return
    tfds.core.ShardBasedBuilder._download_and_prepare(
      self, dl_manager, download_config
    )
    shutil.rmtree(self._chunks)

  def _shard_iterators_per_split(self, dl_manager):
    """Of 2.0.0. Split -> for each shard a function that yields its records."""
    del dl_manager
    size = v2_plan.SIZES[self.builder_config.name]
    clips = v2_plan.make_plan(size)
    done = 0
    for number in v2_render.write_chunks(clips, size, self._chunks):
      done += number
      if self.progress is not None:
        self.progress(done, len(clips))
    found = {}
    of_shard = max(1, _SHARD_BYTES // (8 * 3 * size.pixels**2))
    for split in records.SPLITS:
      chosen = [clip for clip in clips if clip.split == split]
      found[split] = [
        functools.partial(self._take, chosen[k : k + of_shard], clips)
        for k in range(0, len(chosen), of_shard)
      ]
    return found

  def _take(self, chosen, clips):
    """The records of a shard."""
    wanted = {clip.index for clip in chosen}
    for part in v2_render.chunks(clips):
      if wanted.isdisjoint(clip.index for clip in part):
        continue
      for clip, frames, depth, face_box in v2_render.read_chunk(
        self._chunks, part
      ):
        if clip.index not in wanted:
          continue
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
            session=clip.room_name,
            medium=clip.medium,
            lists=v2_plan.UNSEEN if clip.unseen else v2_plan.SEEN,
            frames=frames,
            frame_index=np.arange(len(frames)),
            face_box=face_box,
            depth=depth,
            fps=carriers.FPS,
          ),
        )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    del dl_manager
    clips = plan.make_plan(plan.SIZES[self.builder_config.name])
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
