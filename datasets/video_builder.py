"""The builder of datasets that are folders of videos, or lists of them.

A subclass sets `layout`, a module with `list_clips(root)` and INSTRUCTIONS. A
dataset with two layouts has a config for each.

A build has two steps. First all clips are decoded into finished records on the
disk, in several processes; a stopped build goes on from them, and all bad clips
are counted before a build stops because of them. Then the shards are written,
one after another, and each finished record is deleted when it is read: neither
the disk nor the memory ever holds all clips twice. (The builder of TFDS that
orders records by itself holds a split in memory, or in files that it can only
write with TensorFlow.)
"""

import csv
import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Iterator, Sequence

import tensorflow_datasets as tfds
from tensorflow_datasets.core import hashing

from nasfas_datasets import (
  beam_build,
  clip_record,
  fas_builder,
  listing,
  sources,
  workers,
)
from nasfas_datasets.clip_cache import ClipCache
from nasfas_datasets.clip_config import ClipConfig
from nasfas_jax import records
from nasfas_jax.data import nuisance
from nasfas_jax.preprocessing import video

REPORT_FILE = 'skipped.csv'
# Hosts divide the records of a dataset, not its files. Shards are small, so
# that many hosts do not all read the same file.
SHARD_BYTES = 16 << 20
_MAX_SHARDS = 1024
# The most bad clips that an error lists.
_NUM_REASONS = 3


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


def _make(
  clip: listing.Clip, settings
) -> tuple[dict | None, listing.Bad | None]:
  """(record, None), or (None, the clip and why it cannot be used)."""
  try:
    return clip_record.make_clip(clip, **settings), None
  except (listing.ClipError, video.VideoError) as error:
    no_face = isinstance(error, listing.NoFaceError)
    return None, clip.bad(str(error), no_face)


def _finish_clip(
  clip: listing.Clip, *, cache: ClipCache, **settings
) -> tuple[str, dict | None, listing.Bad | None]:
  """Puts a clip's record into the cache: (id, its properties, None or why)."""
  properties = cache.properties(clip)
  if properties is not None:
    return clip.clip_id, properties, None
  record, bad = _make(clip, settings)
  if record is None:
    return clip.clip_id, None, bad
  cache.put(clip, record)
  return clip.clip_id, record['properties'], None


def _beam_clip(clip: listing.Clip, **settings):
  """(id, record or None, why there is none), for `beam_build`."""
  record, bad = _make(clip, settings)
  return clip.clip_id, record, bad


class VideoBuilder(fas_builder.FasBuilder, skip_registration=True):
  """Builds records from the clips that a layout lists."""

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First version.'}
  BUILDER_CONFIGS = CONFIGS
  # What the builder calls a clip, and the columns of its report.
  CLIPS = 'clips'
  REPORT_COLUMNS = ('path', 'reason')
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
    self._found = None
    self._parts = {}
    self._properties = {}
    self._bad = []
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

  def find(self, root: pathlib.Path) -> listing.Listing:
    """Lists the clips that this builder would decode."""
    found = self._list(root)
    if (
      self.builder_config.faces == 'detected'
      or self.builder_config.missing_boxes == 'whole_frame'
    ):
      return found
    boxed = sum(clip.has_box for clip in found.clips)
    if not boxed or boxed == len(found.clips):
      return found
    reason = (
      f'no face box, which {boxed} other {self.CLIPS} have '
      '(--missing_boxes=whole_frame takes the whole frame)'
    )
    bad = [clip.bad(reason) for clip in found.clips if not clip.has_box]
    return dataclasses.replace(
      found,
      clips=[clip for clip in found.clips if clip.has_box],
      bad=[*found.bad, *bad],
    )

  def _list(self, root: pathlib.Path) -> listing.Listing:
    return self.list_clips(root, self.builder_config.name)

  def settings(self) -> dict[str, object]:
    """The settings that change the records: JSON content."""
    return self.builder_config.content()

  def difference(self, root: pathlib.Path | None) -> list[str]:
    """How the prepared dataset differs from what this builder would make."""
    found = super().difference(root)
    if found or root is None:
      return found
    old = sources.read(pathlib.Path(self.data_dir)).clips
    return sources.difference(old, self._parts_of(self.find(root), root))

  def _parts_of(self, found: listing.Listing, root: pathlib.Path):
    root = root.resolve()
    return {clip.clip_id: sources.parts(clip, root) for clip in found.clips}

  def decode(self, root: pathlib.Path) -> None:
    """The first step: lists the clips, and decodes them unless on Beam.

    Raises:
      FileNotFoundError: if clips are missing.
      ValueError: if too many clips are bad; all of them are counted.
    """
    if self._found is not None:
      return
    found = self.find(root)
    if found.missing and not self.allow_missing:
      have = len(found.clips) + len(found.bad)
      raise FileNotFoundError(
        f'{self.name}: {len(found.missing)} of {len(found.missing) + have} '
        f'clips are missing in {str(root)!r}: '
        f'{listing.shorten(found.missing)}. --list names them all, '
        '--allow_missing builds the others.'
      )
    if not found.clips and not found.bad:
      layout = self.layout_of(self.builder_config.name)
      raise FileNotFoundError(
        f'{self.name}: no clip in {str(root)!r}. '
        + ' '.join(layout.INSTRUCTIONS.split())
      )
    # Before decoding: a file that changes meanwhile is another file.
    self._parts = self._parts_of(found, root)
    self._bad = list(found.bad)
    if not self.use_beam:
      self._decode_clips(found.clips)
      self._check_bad(found)
    self._found = found

  def _decode_clips(self, clips: Sequence[listing.Clip]) -> None:
    work = functools.partial(
      _finish_clip, cache=self._cache(), **self._make_settings()
    )
    for done, (name, properties, bad) in enumerate(self._map(work, clips), 1):
      if bad is None:
        self._properties[name] = properties
      else:
        self._bad.append(bad)
      if self.progress is not None:
        self.progress(done, len(clips))

  def _map(self, work, clips):
    """Applies `work` to the clips, in order, in `num_workers` processes."""
    if self.num_workers <= 1:
      return map(work, clips)
    return workers.spread(work, clips, self.num_workers)

  def _check_bad(self, found: listing.Listing) -> None:
    """Raises ValueError if too many clips are bad, or a split has none."""
    total = len(found.clips) + len(found.bad)
    if len(self._bad) > self.max_bad_share * total:
      self._fail(
        found,
        f'{len(self._bad)} of {total} {self.CLIPS} cannot be used, a share of '
        f'{len(self._bad) / total:.3g}; max_bad_share allows '
        f'{self.max_bad_share:g}',
      )
    if not self._properties:
      self._fail(found, 'no clip can be used')
    good = {c.split for c in found.clips if c.clip_id in self._properties}
    listed = {one.split for one in (*found.clips, *found.bad)} - {''}
    for split in sorted(listed - good):
      self._fail(found, f'no clip of the split {split!r} can be used')

  def _fail(self, found: listing.Listing, problem: str) -> None:
    report = self._write_report(pathlib.Path(self.data_dir).parent, found)
    first = '; '.join(
      (f'row {bad.row}: ' if bad.row else '') + f'{bad.name!r}: {bad.reason}'
      for bad in sorted(self._bad, key=_order)[:_NUM_REASONS]
    )
    raise ValueError(
      f'{self.name}: {problem}. All are in {report}; the first: {first}'
    )

  def _decode_manual_dir(self, dl_manager) -> dict[str, list[listing.Clip]]:
    """The first step: split -> its clips, as far as they can be used."""
    try:
      root = pathlib.Path(dl_manager.manual_dir)
    except AssertionError as error:  # How TFDS says that it is not there.
      layout = self.layout_of(self.builder_config.name)
      raise FileNotFoundError(
        f'{self.name}: give --manual_dir=FOLDER. '
        f'{" ".join(layout.INSTRUCTIONS.split())}'
      ) from error
    self.decode(root)
    chosen = {
      split: [
        clip
        for clip in self._found.clips
        if clip.split == split
        and (self.use_beam or clip.clip_id in self._properties)
      ]
      for split in records.SPLITS
    }
    return {split: clips for split, clips in chosen.items() if clips}

  def _shard_iterators_per_split(self, dl_manager):
    """Split -> for each shard a function that yields its (id, record) pairs."""
    decoded = self._decode_manual_dir(dl_manager)
    # Before the shards take the finished clips: those cannot be had again.
    self._write_account()
    found = {}
    for split, clips in decoded.items():
      # In the order that TFDS would give them, on Beam too.
      hasher = hashing.Hasher(split)
      clips = sorted(clips, key=lambda clip: hasher.hash_key(clip.clip_id))
      size = sum(map(self._cache().size, clips))
      number = min(len(clips), max(1, size // SHARD_BYTES), _MAX_SHARDS)
      edges = [len(clips) * i // number for i in range(number + 1)]
      found[split] = [
        functools.partial(self._take, clips[low:high])
        for low, high in itertools.pairwise(edges)
      ]
    return found

  def _take(
    self, clips: Sequence[listing.Clip]
  ) -> Iterator[tuple[str, dict[str, object]]]:
    """The second step: hands the finished records over."""
    cache = self._cache()
    for clip in clips:
      record = cache.take(clip)
      if record is None:
        raise ValueError(
          f'{clip.path} changed while the dataset was built; the same command '
          'reads it again.'
        )
      del record['properties']
      yield clip.clip_id, record

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    """For Beam only."""
    clips = self._decode_manual_dir(dl_manager)
    return {
      split: self._beam_examples(chosen) for split, chosen in clips.items()
    }

  def _generate_examples(self, clips):
    raise NotImplementedError('Records are made in `decode` or on Beam.')

  def _write_shards(self, dl_manager, download_config) -> None:
    if self.use_beam:
      super()._write_shards(dl_manager, download_config)
      self._read_beam_reports()
      self._write_account()
    else:
      tfds.core.ShardBasedBuilder._download_and_prepare(
        self, dl_manager, download_config
      )

  def _beam_examples(self, clips: Sequence[listing.Clip]):
    work = functools.partial(_beam_clip, **self._make_settings())
    report = self._beam_report(clips[0].split)
    report.parent.mkdir(parents=True, exist_ok=True)
    return beam_build.examples(clips, work, report)

  def _beam_report(self, split: str) -> pathlib.Path:
    parent = pathlib.Path(self.data_dir).parent
    return parent / f'made-{self.version}-{split}.json'

  def _read_beam_reports(self) -> None:
    """Takes over what the workers say of each clip."""
    for split in records.SPLITS:
      report = self._beam_report(split)
      if report.exists():
        for name, properties, bad in beam_build.read(report):
          if bad is None:
            self._properties[name] = properties
          else:
            self._bad.append(listing.Bad(*bad))
        report.unlink()
    self._check_bad(self._found)

  def _make_settings(self) -> dict[str, object]:
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

  @property
  def num_finished(self) -> int:
    """The number of clips that a stopped build has finished."""
    return len(self._cache())

  def summary(self, root: pathlib.Path | None = None) -> list[str]:
    """What was built and what is to be known of it: lines for the user.

    Args:
      root: the manual folder. Without it, clips that an earlier process has
        decoded are not listed again, and less is told.
    """
    first, *others = super().summary()
    if self._found is None and root is None:
      report = pathlib.Path(self.data_dir) / REPORT_FILE
      return [first, *others, f'Skipped clips and files are in {report}']
    if self._found is None:
      self._recall(root)
    lines = [first, *self._skipped_lines(), *others]
    return lines + self._notes()

  def _recall(self, root: pathlib.Path) -> None:
    """Takes over what a process found that stopped once the shards were there.

    From the same files: `difference` has compared them.
    """
    folder = pathlib.Path(self.data_dir)
    found = self.find(root)
    with open(folder / REPORT_FILE, encoding='utf-8', newline='') as file:
      reasons = {row['path']: row['reason'] for row in csv.DictReader(file)}
    self._properties = sources.read(folder).properties
    self._bad = list(found.bad)
    for clip in found.clips:
      if clip.clip_id not in self._properties:
        reason = reasons.get(clip.bad('').name, '')
        no_face = reason.startswith(listing.NO_FACE)
        self._bad.append(clip.bad(reason, no_face))
    self._found = found

  def _skipped_lines(self) -> list[str]:
    found = self._found
    lines = []
    if self._bad or found.skipped:
      names = f'{len(self._bad)} of {len(self._bad) + len(self._properties)}'
      other = len(found.skipped)
      lines.append(
        f'SKIPPED: {names} {self.CLIPS}'
        + (f' and {other} other files' if other else '')
        + f', listed in {pathlib.Path(self.data_dir) / REPORT_FILE}'
      )
    good = [
      clip.label for clip in found.clips if clip.clip_id in self._properties
    ]
    bad = [bad for bad in self._bad if bad.label is not None]
    for name, chosen in (
      ('Clips that are skipped', bad),
      ('Clips without a face', [b for b in bad if b.no_face]),
    ):
      other = [b.label for b in bad if b not in chosen]
      told = [(label, False) for label in (*good, *other)]
      lines += nuisance.by_label(
        name, [*told, *((b.label, True) for b in chosen)]
      )
    return lines

  def _notes(self) -> list[str]:
    """What the files themselves show, before they are decoded."""
    found = self._found
    lines = [f'NOTE: {note}' for note in found.notes]
    wrong = sum(
      'claimed_frames' in known for known in self._properties.values()
    )
    if wrong:
      lines.append(
        f'NOTE: {wrong} files hold another number of frames than their headers '
        f'say; decoding decided (claimed_frames in {sources.SOURCES_FILE})'
      )
    lines += [
      f'WARNING: the subjects {first!r} and {other!r} look like one person.'
      for first, other in listing.alike_subjects(found.clips)
    ]
    same = listing.same_files(found.clips)
    across = [pair for pair in same if pair[0].split != pair[1].split]
    labels = [
      pair
      for pair in same
      if {clip.label for clip in pair} == {records.LIVE, records.SPOOF}
    ]
    for pairs, what in (
      (same, 'under two names'),
      (across, 'in two splits'),
      (labels, 'once as live and once as an attack'),
    ):
      if pairs:
        named = [f'{a.clip_id!r} and {b.clip_id!r}' for a, b in pairs]
        lines.append(
          f'WARNING: the same bytes {what}, {len(pairs)} times: '
          f'{listing.shorten(named)}'
        )
    # The same film in another container, say: other bytes, the same frames.
    told = {frozenset(clip.clip_id for clip in pair) for pair in same}
    copies = [
      pair
      for pair in nuisance.copies(self.rows())
      if frozenset(row['clip_id'] for row in pair) not in told
    ]
    if copies:
      named = [f'{a["clip_id"]!r} and {b["clip_id"]!r}' for a, b in copies]
      where = [
        f'{sum(a[field] != b[field] for a, b in copies)} of them {what}'
        for field, what in (
          ('split', 'in two splits'),
          ('label', 'with two labels'),
        )
      ]
      lines.append(
        f'WARNING: the same frames in other files, {len(copies)} times, '
        f'{" and ".join(where)}: {listing.shorten(named)}'
      )
    return lines

  def file_properties(self) -> dict[str, dict[str, object]]:
    """Clip id -> what is known of the clip's file, see `nuisance`."""
    return sources.read(pathlib.Path(self.data_dir)).properties

  def _download_and_prepare(self, dl_manager, download_config) -> None:
    """Builds the shards and, beside them, the report of skipped files."""
    super()._download_and_prepare(
      dl_manager=dl_manager, download_config=download_config
    )
    self._cache().clear()
    (pathlib.Path(self.data_dir).parent / REPORT_FILE).unlink(missing_ok=True)

  def _write_account(self) -> None:
    """Writes what the shards are made from, and what was skipped."""
    folder = pathlib.Path(self.data_dir)
    sources.write(folder, self._parts, self._properties)
    self._write_report(folder, self._found)

  def _write_report(
    self, folder: pathlib.Path, found: listing.Listing
  ) -> pathlib.Path:
    """Writes the files that are no clips, and the clips that are bad."""
    path = folder / REPORT_FILE
    rows = [
      *(listing.Bad(name, reason) for name, reason in found.skipped),
      *self._bad,
    ]
    folder.mkdir(parents=True, exist_ok=True)
    # A name on a disk need not be UTF-8: its bytes are then told by numbers.
    with open(
      path, 'w', encoding='utf-8', errors='backslashreplace', newline=''
    ) as file:
      writer = csv.writer(file)
      writer.writerow(self.REPORT_COLUMNS)
      for bad in sorted(rows, key=_order):
        cells = {'row': bad.row, 'path': bad.name, 'reason': bad.reason}
        writer.writerow([cells[column] for column in self.REPORT_COLUMNS])
    return path


def _order(bad: listing.Bad) -> tuple[int, str]:
  return bad.row, bad.name
