"""grain pipelines over prepared shards.

The state of a training stream is one integer, the step. The same seed and step
give the same batch with any number of worker processes, so that a run resumes
bit-exactly from a checkpoint's step.

Processes divide the clips by their place in the stream, not by shard. So each
reads the same number of clips, whatever the number of shards, and the global
batch does not depend on the number of processes.
"""

import dataclasses
import os
import signal
import threading
from collections.abc import Iterator, Sequence

import grain
import numpy as np
from grain import multiprocessing as grain_processes

from nasfas_jax import records, stopping
from nasfas_jax.data import transforms
from nasfas_jax.data.balance import Turns, make_turns
from nasfas_jax.data.clips import ClipSource, Neighbours
from nasfas_jax.data.episodes import Episodes
from nasfas_jax.data.index import Row

# More steps than any search takes.
MAX_STEPS = 10**9
# Batches of one stream that are read before they are asked for, in each worker
# process. Two threads work on them; at 256x256 one of 12 clips has 19 MB.
_BATCHES_AHEAD = 4
# Clips that stay in memory while their snippets are cut: those that the threads
# of a reader work on.
_CLIPS_KEPT = 16
# For which a worker process goes on after SIGTERM: longer than a step.
_GRACE_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class SnippetShape:
  """The sizes of a snippet, each at least 1.

  Attributes:
    num_frames: K, frames per snippet.
    image_size: S, side of the frames in pixels.
    map_size: D, side of the maps.
  """

  num_frames: int
  image_size: int
  map_size: int

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if value < 1:
        raise ValueError(f'{field.name} is {value}; it must be at least 1.')


@dataclasses.dataclass(frozen=True)
class Reading:
  """How clips are read; affects speed only.

  Attributes:
    num_workers: worker processes that decode; 0 decodes in threads.
    cache_bytes: limit of the cache of decoded clips, divided among the worker
      processes.
  """

  num_workers: int
  cache_bytes: int


class StoredSnippet(grain.transforms.RandomMap):
  """Draws which frames of a record make a snippet, and reads them."""

  def __init__(self, shape: SnippetShape, side: int):
    """side: of the pictures of all snippets; smaller ones are padded."""
    self._shape = shape
    self._side = side

  def random_map(self, record, rng: np.random.Generator):
    places = transforms.train_frame_indices(
      len(record['frames']), self._shape.num_frames, rng
    )
    pictures = record['frames'].take(places)
    side = self._side
    height, width = pictures[0].shape[:2]
    if max(height, width) > side:
      raise ValueError(
        f'{record["frames"].name!r} has frames of {width} x {height} pixels, '
        'larger than those of the first clip of its dataset. Prepare the '
        'dataset again, with --replace.'
      )
    frames = np.zeros((len(places), side, side, 3), np.uint8)
    for frame, picture in zip(frames, pictures, strict=True):
      frame[:height, :width] = picture
    depth = record['depth']
    stored = np.zeros(depth.shape[1:], np.uint8)
    if len(depth):
      stored = depth[int(places[len(places) // 2])]
    return _with_label(
      {
        'frames': frames,
        'frame_size': np.array([height, width], np.int32),
        'depth': stored,
        'has_depth': np.bool_(len(depth) > 0),
        'face_box': np.asarray(record['face_box'], np.float32),
      },
      record,
    )


class _Place(grain.transforms.MapWithIndex):
  """Adds a clip's place in the global batch."""

  def __init__(self, batch_size: int):
    self._batch_size = batch_size

  def map_with_index(self, index: int, element):
    return {**element, 'place': np.int32(index % self._batch_size)}


class EvaluationSnippet(grain.transforms.Map):
  """Cuts one of the evenly placed snippets from a record; not random."""

  def __init__(self, shape: SnippetShape, face_scale: float, num_snippets: int):
    self._shape = shape
    self._face_scale = face_scale
    self._num_snippets = num_snippets

  def map(self, element):
    record, snippet = element
    frame_indices = transforms.even_frame_indices(
      len(record['frames']),
      self._shape.num_frames,
      snippet,
      self._num_snippets,
    )
    return _with_label(
      transforms.make_snippet(
        record,
        frame_indices,
        image_size=self._shape.image_size,
        map_size=self._shape.map_size,
        face_scale=self._face_scale,
      ),
      record,
    )


def _with_label(snippet, record):
  return {
    **snippet,
    'label': np.int32(record['label']),
    'index': np.int32(record['index']),
  }


def domain_names(rows: Sequence[Row], domain_field: str) -> tuple[str, ...]:
  """The sorted names of the clips' domains; a batch's `domain` indexes them.

  Args:
    rows: of the index.
    domain_field: the field that names a clip's domain; '': all clips are of one
      domain, named ''.

  Raises:
    ValueError: if a clip does not have this field.
  """
  return tuple(sorted(set(_domains(rows, domain_field))))


def _domains(rows: Sequence[Row], domain_field: str) -> list[str]:
  """The domain of every clip, see `domain_names`."""
  if not domain_field:
    return [''] * len(rows)
  for row in rows:
    if domain_field not in row:
      raise ValueError(
        f'Clip {row["clip_id"]!r} has no field {domain_field!r} to name its '
        f"domain; allowed: '', {', '.join(map(repr, sorted(row)))}."
      )
  return [str(row[domain_field]) for row in rows]


class _Numbers(grain.transforms.Map):
  """Adds a clip's domain and attack type, from the index, as integers."""

  def __init__(self, rows: Sequence[Row], domain_field: str):
    names = domain_names(rows, domain_field)
    place = {name: number for number, name in enumerate(names)}
    numbers = {
      'domain': [place[name] for name in _domains(rows, domain_field)],
      'attack_type': [
        records.attack_type_number(row['clip_id'], row['attack_type'])
        for row in rows
      ],
    }
    self._numbers = {
      name: np.array(column, np.int32) for name, column in numbers.items()
    }

  def map(self, element):
    place = element['index']
    numbers = {name: column[place] for name, column in self._numbers.items()}
    return {**element, **numbers}


class _SnippetSource:
  """Pairs (record, snippet number); a clip's snippets are adjacent."""

  def __init__(self, clips: ClipSource, num_snippets: int):
    self._clips = Neighbours(clips, _CLIPS_KEPT) if num_snippets > 1 else clips
    self._num_snippets = num_snippets

  def __len__(self) -> int:
    return len(self._clips) * self._num_snippets

  def __getitem__(self, i: int):
    return self._clips[i // self._num_snippets], i % self._num_snippets


def train_batches(
  rows: Sequence[Row],
  *,
  shape: SnippetShape,
  reading: Reading,
  domain_field: str,
  batch_size: int,
  seed: int,
  step: int = 0,
  balance: str = '',
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
  """An endless stream of raw training batches that starts at a step.

  Raw: the stored pictures and maps. `augment.prepare_batch` makes a training
  batch of them, on the device.

  Args:
    rows: of the index.
    shape: sizes of a snippet.
    reading: how clips are read.
    domain_field: the field that names a clip's domain, see `domain_names`.
    batch_size: clips in the global batch, over all processes.
    seed: same seed, same stream.
    step: number of the first batch. Batch n is the same wherever the stream
      starts.
    balance: '': an epoch has every clip once, in a new order. Else what is seen
      equally often, see `balance.make_turns`; a batch is then balanced to
      within one clip.
    process_index: of this process.
    process_count: number of processes.

  Returns:
    An iterator with close() over dicts of arrays. B is batch_size /
    process_count.
      frames: uint8 [B, K, P, P, 3] RGB, K consecutive frames as stored. P is
        the largest stored side among the datasets of the rows; the pictures of
        others are in the upper left corner, and the rest is 0.
      frame_size: int32 [B, 2], height and width of the stored pictures.
      depth: uint8 [B, M, M], the stored depth map of the static frame (K // 2);
        0 if the clip has none.
      has_depth: bool [B].
      face_box: float32 [B, 4] x0, y0, x1, y1 in pixels of the stored pictures.
      place: int32 [B], of the clip in the global batch.
      label: int32 [B], 1 live, 0 spoof.
      index: int32 [B], place in `rows`.
      attack_type: int32 [B], place in `records.ATTACK_TYPES`.
      domain: int32 [B], place in `domain_names(rows, domain_field)`. Two
        streams agree on it only if their clips have the same domains.

  Raises:
    ValueError: if there are no clips, the batch size is not a multiple of the
      processes, an attack type is unknown, or the clips cannot be balanced.
  """
  _check_clips(rows, batch_size, process_count)
  clips = _clip_source(rows, reading)
  own = _own_part(batch_size, process_index, process_count)
  dataset = _training_clips(
    clips, rows, shape, domain_field, batch_size, seed, balance, own
  )
  dataset = dataset.batch(len(own), drop_remainder=True)
  return _iterate(dataset[step:], reading.num_workers)


def member_batches(
  rows: Sequence[Row],
  *,
  shape: SnippetShape,
  reading: Reading,
  domain_field: str,
  batch_size: int,
  seeds: Sequence[int],
  step: int = 0,
  balance: str = '',
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
  """The streams of several seeds side by side.

  They share the readers and the cache of decoded clips.

  Args:
    rows: see `train_batches`.
    shape: see `train_batches`.
    reading: see `train_batches`.
    domain_field: see `train_batches`.
    batch_size: clips of one seed in the global batch.
    seeds: S of them, one a stream.
    step: see `train_batches`.
    balance: see `train_batches`.
    process_index: see `train_batches`.
    process_count: see `train_batches`.

  Returns:
    The arrays of `train_batches` with a leading axis [S]: batch n of place i is
    batch n of `train_batches` with seed seeds[i].

  Raises:
    ValueError: as `train_batches`.
  """
  _check_clips(rows, batch_size, process_count)
  clips = _clip_source(rows, reading)
  own = _own_part(batch_size, process_index, process_count)
  streams = [
    _training_clips(
      clips, rows, shape, domain_field, batch_size, seed, balance, own
    )
    for seed in seeds
  ]
  dataset = _SideBySide(streams, len(own))
  dataset = dataset.batch(len(seeds) * len(own), drop_remainder=True)
  ahead = max(2, _BATCHES_AHEAD // len(seeds))
  return _split(
    _iterate(dataset[step:], reading.num_workers, ahead), len(seeds)
  )


def _split(batches, number: int):
  """The arrays [S * B, ...] of a stream of batches as [S, B, ...]."""
  try:
    for batch in batches:
      yield {
        name: array.reshape(number, -1, *array.shape[1:])
        for name, array in batch.items()
      }
  finally:
    batches.close()


def _check_clips(rows, batch_size: int, process_count: int) -> None:
  if not rows:
    raise ValueError('There are no clips to train on.')
  if batch_size < 1 or batch_size % process_count:
    raise ValueError(
      f'batch_size {batch_size} must be a positive multiple of the number '
      f'of processes, {process_count}.'
    )


def _training_clips(
  clips: ClipSource,
  rows: Sequence[Row],
  shape: SnippetShape,
  domain_field: str,
  batch_size: int,
  seed: int,
  balance: str,
  own: range,
) -> grain.MapDataset:
  """The clips of `train_batches`, of the places `own` in every batch."""
  if balance:
    turns = make_turns(rows, balance, _domains(rows, domain_field), seed)
    dataset = grain.MapDataset.source(
      _Ordered(clips, turns, MAX_STEPS * batch_size)
    )
  else:
    dataset = grain.MapDataset.source(clips)
    dataset = dataset.shuffle(seed=_derived_seed(seed, 1)).repeat()
  # Draw before dividing the clips among the processes, so that a clip's frames
  # and its place do not depend on their number.
  dataset = dataset.random_map(
    StoredSnippet(shape, clips.largest_side()), seed=_derived_seed(seed, 4)
  )
  dataset = dataset.map(_Numbers(rows, domain_field))
  dataset = dataset.map_with_index(_Place(batch_size))
  return _Part(dataset, batch_size, own)


def episode_batches(
  rows: Sequence[Row],
  *,
  episodes: Episodes,
  shape: SnippetShape,
  reading: Reading,
  domain_field: str,
  seed: int,
  step: int = 0,
  places: Sequence[int] | None = None,
) -> Iterator[dict[str, np.ndarray]]:
  """An endless stream of raw episodes that starts at a step.

  Args:
    rows: of the index; the episodes hold row numbers of it.
    episodes: the clips of every step.
    shape: sizes of a snippet.
    reading: how clips are read.
    domain_field: see `train_batches`.
    seed: of the choice of frames.
    step: number of the first episode. Episode n is the same wherever the stream
      starts.
    places: the clips of an episode that this process reads, by their place in
      it, ascending; None: all.

  Returns:
    See `train_batches`; B is `episodes.size`, or the number of `places`. The
    clips are ordered by task, and each task's support set comes before its
    query set.
  """
  clips = _clip_source(rows, reading)
  dataset = grain.MapDataset.source(
    _Ordered(clips, episodes, MAX_STEPS * episodes.size)
  )
  dataset = dataset.random_map(
    StoredSnippet(shape, clips.largest_side()), seed=_derived_seed(seed, 1)
  )
  dataset = dataset.map(_Numbers(rows, domain_field))
  dataset = dataset.map_with_index(_Place(episodes.size))
  own = range(episodes.size) if places is None else places
  dataset = _Part(dataset, episodes.size, own)
  dataset = dataset.batch(len(own), drop_remainder=True)
  return _iterate(dataset[step:], reading.num_workers)


def evaluation_batches(
  rows: Sequence[Row],
  *,
  shape: SnippetShape,
  face_scale: float,
  num_snippets: int,
  num_workers: int,
  domain_field: str,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
  """One pass over all snippets of all clips, in order, without augmentation.

  With several processes, each reads its part of every batch.

  Args:
    rows: of the index.
    shape: sizes of a snippet.
    face_scale: side of the crop over the larger side of the face box.
    num_snippets: snippets per clip.
    num_workers: worker processes that decode; 0 decodes in threads.
    domain_field: see `train_batches`.
    batch_size: snippets in the global batch, a multiple of process_count.
    process_index: of this process.
    process_count: number of processes.

  Returns:
    An iterator with close() over dicts of arrays: frames, depth, face_mask and
    score_mask as `transforms.make_snippet` gives them, with a leading axis; the
    label, index, attack_type and domain of `train_batches`; and `weight`,
    float32 [B]: 1, or 0 for the copies of the first snippets that pad the last
    batch to full size.
  """
  source = _SnippetSource(ClipSource(rows), num_snippets)
  total = len(source)
  local = batch_size // process_count
  places, weights = process_share(
    total, batch_size, process_index, process_count
  )
  dataset = grain.MapDataset.source(_Places(source, places))
  dataset = dataset.map(EvaluationSnippet(shape, face_scale, num_snippets))
  dataset = dataset.map(_Numbers(rows, domain_field))
  dataset = dataset.batch(local, drop_remainder=True)
  return _weighted(_iterate(dataset, num_workers), weights, local)


def _weighted(batches, weights: np.ndarray, local: int):
  """Adds the weights of the snippets, `local` per batch."""
  try:
    for number, batch in enumerate(batches):
      part = weights[number * local : (number + 1) * local]
      yield {**batch, 'weight': part}
  finally:
    batches.close()


def process_share(
  total: int, batch_size: int, process_index: int, process_count: int
) -> tuple[list[int], np.ndarray]:
  """The snippets that one process reads, padded to full batches.

  Args:
    total: number of snippets.
    batch_size: of the global batch, a multiple of process_count.
    process_index: of this process.
    process_count: number of processes.

  Returns:
    (places, weights float32): the process's part of every batch with weight 1;
    at the end of the last batch the first places again with weight 0, so that
    all processes read the same number.
  """
  own = _own_part(batch_size, process_index, process_count)
  batches = -(-total // batch_size)
  places = [batch * batch_size + i for batch in range(batches) for i in own]
  weights = np.array([float(place < total) for place in places], np.float32)
  # Of many clips, not of one: a batch may be normalised by what it holds.
  return [place % total for place in places], weights


def _clip_source(rows: Sequence[Row], reading: Reading) -> ClipSource:
  return ClipSource(rows, reading.cache_bytes // max(1, reading.num_workers))


def _derived_seed(seed: int, number: int) -> int:
  """One of several independent seeds that a stream's seed stands for.

  grain would derive them from a transformation's position in the pipeline, and
  an added transformation would change those after it. These do not change.
  """
  return int(np.random.SeedSequence((seed, number)).generate_state(1)[0])


def _own_part(batch_size: int, process_index: int, process_count: int) -> range:
  """The places in a batch that one process reads.

  Adjacent ones, as its devices are. So the global batch, and with it every
  bit of a step, does not depend on the number of processes but on that of
  their devices.
  """
  local = batch_size // process_count
  return range(process_index * local, (process_index + 1) * local)


class _Part(grain.MapDataset):
  """Some places of every batch of a dataset."""

  def __init__(
    self, parent: grain.MapDataset, batch_size: int, places: Sequence[int]
  ):
    super().__init__(parent)
    self._parent_length = len(parent)
    self._batch_size = batch_size
    self._places = list(places)

  def __len__(self) -> int:
    return self._parent_length // self._batch_size * len(self._places)

  def __getitem__(self, index):
    if isinstance(index, slice):
      return self.slice(index)
    batch, within = divmod(index, len(self._places))
    return self._parent[batch * self._batch_size + self._places[within]]


class _SideBySide(grain.MapDataset):
  """Several datasets in turn, a batch of each."""

  def __init__(self, parents: Sequence[grain.MapDataset], batch_size: int):
    super().__init__(parents)
    self._batch_size = batch_size
    # Fewer than there are: endless streams have as many clips as can be
    # counted.
    shortest = min(map(len, parents))
    self._num_batches = shortest // (len(parents) * batch_size)

  def __len__(self) -> int:
    return self._num_batches * len(self._parents) * self._batch_size

  def __getitem__(self, index):
    if isinstance(index, slice):
      return self.slice(index)
    batch, within = divmod(index, len(self._parents) * self._batch_size)
    stream, place = divmod(within, self._batch_size)
    return self._parents[stream][batch * self._batch_size + place]


class _Ordered:
  """Clips in the order of `order.row(place)`, practically endless."""

  def __init__(self, clips: ClipSource, order: Episodes | Turns, length: int):
    self._clips = clips
    self._order = order
    self._length = length

  def __len__(self) -> int:
    return self._length

  def __getitem__(self, i: int):
    return self._clips[self._order.row(i)]


class _Places:
  """The snippets of a source at a list of places."""

  def __init__(self, source: _SnippetSource, places: Sequence[int]):
    self._source = source
    self._places = list(places)

  def __len__(self) -> int:
    return len(self._places)

  def __getitem__(self, i: int):
    return self._source[self._places[i]]


def _iterate(
  dataset: grain.MapDataset, num_workers: int, ahead: int = _BATCHES_AHEAD
):
  """An iterator that prefetches in threads or in worker processes.

  Args:
    dataset: of batches.
    num_workers: see `Reading`.
    ahead: batches that are read before they are asked for.
  """
  options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=ahead)
  iterable = dataset.to_iter_dataset(options)
  if not num_workers:
    return iter(iterable)
  return _of_workers(
    iter(
      iterable.mp_prefetch(
        grain.MultiprocessingOptions(num_workers=num_workers), _begin_worker
      )
    )
  )


def _begin_worker(number: int, total: int) -> None:
  """Leaves the end of a worker process to its parent.

  A terminal sends Ctrl-C to all processes of a run, and a scheduler may do so
  with SIGTERM. The parent then ends the workers, once a step is saved.
  """
  del number, total
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  signal.signal(signal.SIGTERM, _end_later)
  # Nothing else ends it after a kill of its parent.
  stopping.end_with_parent()


def _end_later(*_) -> None:
  timer = threading.Timer(_GRACE_SECONDS, os._exit, (1,))
  timer.daemon = True
  timer.start()


def _of_workers(batches):
  """The batches of worker processes, whose end is an error.

  Raises:
    ChildProcessError: a second after one of them was killed.
  """
  try:
    while True:
      try:
        batch = next(batches)
      except StopIteration:
        return
      except RuntimeError as error:
        if 'terminated unexpectedly' not in str(error):
          raise
        raise ChildProcessError(
          'A worker process that decodes clips was killed, perhaps for want of '
          'memory: fewer of them (config.data.num_workers) or a smaller '
          'config.data.cache_mib need less. The same command goes on from the '
          'last checkpoint.'
        ) from error
      _unname(batch)
      yield batch
  finally:
    batches.close()


def _unname(batch: dict[str, np.ndarray]) -> None:
  """Removes the names of the shared memory that a batch lies in.

  The memory is then free as soon as nothing uses it, however the process ends.
  grain would remove a name when the array is deleted, and the last ones are
  not: JAX on CPU uses an array without copying it, and may hold it to the end.
  """
  for array in batch.values():
    if isinstance(array, grain_processes.SharedMemoryArray):
      array.shm.unlink()
      array._unlink_on_del = False
