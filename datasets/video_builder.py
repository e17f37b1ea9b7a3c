"""The builder of datasets that are folders of videos.

A subclass sets `layout`, a module with `list_clips(root)` and INSTRUCTIONS. A
dataset with two layouts has a config for each.
"""

import concurrent.futures
import csv
import functools
import multiprocessing
import pathlib
from collections.abc import Iterator, Sequence

import tensorflow_datasets as tfds

from nasfas_datasets import beam_build, clip_record, fas_builder, listing
from nasfas_datasets.clip_cache import ClipCache
from nasfas_datasets.clip_config import ClipConfig
from nasfas_jax import records
from nasfas_jax.preprocessing import video

REPORT_FILE = 'skipped.csv'


CONFIGS = [
  ClipConfig(
    name='default', description='Crops of 256 pixels.', max_bad_share=0.05
  ),
  ClipConfig(
    name='small',
    size=80,
    description='Crops of 80 pixels, to train at 64.',
    max_bad_share=0.05,
  ),
]


def _try_clip(clip, *, cache=None, **settings):
  """Returns (clip, record or None, reason why there is none)."""
  try:
    record = cache and cache.get(clip)
    if record is None:
      record = clip_record.make_clip(clip, **settings)
      if cache:
        cache.put(clip, record)
    return clip, record, ''
  except (listing.ClipError, video.VideoError) as error:
    return clip, None, str(error)


class VideoBuilder(fas_builder.FasBuilder, skip_registration=True):
  """Builds records from the clips that a layout lists."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First version.'}
  BUILDER_CONFIGS = CONFIGS
  layout = None

  def __init__(
    self, *, num_workers=1, allow_missing=False, use_beam=False, **kwargs
  ):
    """Makes a builder.

    Args:
      num_workers: processes that decode.
      allow_missing: build even if clips of the dataset are missing.
      use_beam: decode on Apache Beam; `num_workers` is then unused.
      **kwargs: those of `FasBuilder`.
    """
    self.num_workers = num_workers
    self.use_beam = use_beam
    self.allow_missing = allow_missing
    super().__init__(**kwargs)

  @classmethod
  def layout_of(cls, config_name: str):
    """The layout of a config."""
    del config_name
    return cls.layout

  @classmethod
  def list_clips(
    cls, root: pathlib.Path, config_name: str = ''
  ) -> listing.Listing:
    """Lists the clips in a folder; see `listing`."""
    return cls.layout_of(config_name).list_clips(pathlib.Path(root))

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    try:
      root = pathlib.Path(dl_manager.manual_dir)
    except AssertionError as error:  # How TFDS says that it is not there.
      raise FileNotFoundError(str(error)) from error
    found = self.list_clips(root, self.builder_config.name)
    if found.missing and not self.allow_missing:
      raise FileNotFoundError(
        f'{self.name}: {len(found.missing)} of '
        f'{len(found.missing) + len(found.clips)} clips are missing in '
        f'{str(root)!r}: {listing.shorten(found.missing)}. --list names them '
        'all, --allow_missing builds the others.'
      )
    if not found.clips:
      layout = self.layout_of(self.builder_config.name)
      raise FileNotFoundError(
        f'{self.name}: no clip in {str(root)!r}. '
        + ' '.join(layout.INSTRUCTIONS.split())
      )
    self._skipped = list(found.skipped)
    self._num_bad = self._num_done = 0
    self._num_clips = len(found.clips)
    chosen = {
      split: [clip for clip in found.clips if clip.split == split]
      for split in records.SPLITS
    }
    generate = self._beam_examples if self.use_beam else self._generate_examples
    return {split: generate(clips) for split, clips in chosen.items() if clips}

  def _beam_examples(self, clips: Sequence[listing.Clip]):
    work = functools.partial(_try_clip, **self._settings())
    report = self._beam_report(clips[0].split)
    report.parent.mkdir(parents=True, exist_ok=True)
    return beam_build.examples(clips, work, report)

  def _beam_report(self, split: str) -> pathlib.Path:
    parent = pathlib.Path(self.data_dir).parent
    return parent / f'skipped-{self.version}-{split}.json'

  def _read_beam_reports(self) -> None:
    """Adds the clips that the workers skipped to those of the listing."""
    for split in records.SPLITS:
      report = self._beam_report(split)
      if report.exists():
        skipped = beam_build.read(report)
        self._skipped += skipped
        self._num_bad += len(skipped)
        report.unlink()
    self._check_bad_share()

  def _generate_examples(
    self, clips: Sequence[listing.Clip]
  ) -> Iterator[tuple[str, dict[str, object]]]:
    for clip, record, reason in self._decode(clips):
      self._num_done += 1
      if self.progress is not None:
        self.progress(self._num_done, self._num_clips)
      if record is not None:
        yield clip.clip_id, record
        continue
      self._num_bad += 1
      self._skipped.append((clip.clip_id, reason))
      self._check_bad_share()

  def _check_bad_share(self) -> None:
    """Raises ValueError if too many clips were skipped."""
    if self._num_bad > self.max_bad_share * self._num_clips:
      report = self._write_report(pathlib.Path(self.data_dir).parent)
      name, reason = self._skipped[-1]
      raise ValueError(
        f'{self.name}: {self._num_bad} of {self._num_clips} clips cannot be '
        f'used; max_bad_share allows {self.max_bad_share:g}. '
        f'The last: {name}: {reason}. All are in {report}.'
      )

  def _decode(self, clips):
    """Decodes the clips, in order, in `num_workers` processes."""
    work = functools.partial(_try_clip, cache=self._cache(), **self._settings())
    if self.num_workers <= 1:
      yield from map(work, clips)
      return
    # Spawned: a fork of a process with threads may hang.
    with concurrent.futures.ProcessPoolExecutor(
      self.num_workers, multiprocessing.get_context('spawn')
    ) as pool:
      try:
        yield from pool.map(work, clips)
      finally:
        pool.shutdown(cancel_futures=True)

  def _settings(self) -> dict[str, object]:
    """The arguments of `clip_record.make_clip` beside the clip."""
    return {
      'dataset': self.name,
      'config': self.builder_config,
      'face_models': self.face_models,
    }

  def _cache(self) -> ClipCache:
    """The finished clips, beside the folder of the shards."""
    parent = pathlib.Path(self.data_dir).parent
    return ClipCache(parent / f'finished-{self.version}', self.builder_config)

  def _download_and_prepare(self, dl_manager, download_config) -> None:
    """Builds the shards and, beside them, the report of skipped files."""
    super()._download_and_prepare(
      dl_manager=dl_manager, download_config=download_config
    )
    if self.use_beam:
      self._read_beam_reports()
    self._cache().clear()
    folder = pathlib.Path(self.data_dir)
    self._write_report(folder)
    (folder.parent / REPORT_FILE).unlink(missing_ok=True)

  def _write_report(self, folder: pathlib.Path) -> pathlib.Path:
    path = folder / REPORT_FILE
    with open(path, 'w', encoding='utf-8', newline='') as file:
      writer = csv.writer(file)
      writer.writerow(('path', 'reason'))
      writer.writerows(sorted(self._skipped))
    return path
