"""grain pipelines over prepared shards.

The whole state of a training stream is one integer, the step: the same seed
and step give the same batch, with any number of worker processes, so that a
run resumes bit-exactly from a checkpoint's step number.

Processes share the clips by their place in the list of rows, never by shard:
whatever the number of shards, every process reads as many clips as any other,
give or take one.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import grain
import numpy as np

from nasfas_jax.data import transforms
from nasfas_jax.data.clips import ClipSource
from nasfas_jax.data.episodes import Episodes
from nasfas_jax.data.index import Row

# More steps than any search takes.
MAX_STEPS = 10**9


@dataclasses.dataclass(frozen=True)
class SnippetShape:
  """What a snippet looks like.

  Attributes:
    num_frames: K, frames a snippet.
    image_size: S, side of the pictures in pixels.
    map_size: D, side of the depth maps.
  """

  num_frames: int = 8
  image_size: int = 256
  map_size: int = 32

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if value < 1:
        raise ValueError(f'{field.name} is {value}; it must be at least 1.')


class TrainSnippet(grain.transforms.RandomMap):
  """Draws an augmented snippet from a record."""

  def __init__(
    self, shape: SnippetShape, augmentation: transforms.Augmentation
  ):
    self._shape = shape
    self._augmentation = augmentation

  def random_map(self, record, rng: np.random.Generator):
    frame_indices = transforms.train_frame_indices(
      len(record['frames']), self._shape.num_frames, rng
    )
    snippet = transforms.make_snippet(
      record,
      frame_indices,
      image_size=self._shape.image_size,
      map_size=self._shape.map_size,
      face_scale=rng.uniform(*self._augmentation.face_scale),
      flip=bool(rng.uniform() < self._augmentation.flip),
    )
    snippet['frames'] = transforms.augment(
      snippet['frames'], self._augmentation, rng
    )
    return _with_labels(snippet, record)


class EvaluationSnippet(grain.transforms.Map):
  """Cuts one of the evenly placed snippets of a record; no randomness."""

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
    return _with_labels(
      transforms.make_snippet(
        record,
        frame_indices,
        image_size=self._shape.image_size,
        map_size=self._shape.map_size,
        face_scale=self._face_scale,
        flip=False,
      ),
      record,
    )


def _with_labels(snippet, record):
  return {
    **snippet,
    'label': np.int32(record['label']),
    'index': np.int32(record['index']),
  }


class _SnippetSource:
  """Pairs (record, snippet number), all snippets of a clip in a row."""

  def __init__(self, clips: ClipSource, num_snippets: int):
    self._clips = clips
    self._num_snippets = num_snippets

  def __len__(self) -> int:
    return len(self._clips) * self._num_snippets

  def __getitem__(self, i: int):
    return self._clips[i // self._num_snippets], i % self._num_snippets


def train_batches(
  rows: Sequence[Row],
  *,
  shape: SnippetShape,
  augmentation: transforms.Augmentation,
  batch_size: int,
  seed: int,
  step: int = 0,
  num_workers: int = 0,
  cache_bytes: int = 0,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
  """An endless stream of training batches, from a step on.

  Args:
    rows: entries of the index.
    shape: sizes of a snippet.
    augmentation: strengths of the augmentation.
    batch_size: clips in the global batch, over all processes.
    seed: same seed, same stream.
    step: number of the first batch; batch n is the same whatever the first.
    num_workers: worker processes that decode; 0 decodes in threads.
    cache_bytes: memory for clips as they were decoded, shared out among the
      worker processes; changes nothing but the speed.
    process_index: which part of each global batch this process reads.
    process_count: number of processes.

  Returns:
    An iterator with close(), over dicts of arrays with a leading axis of
    batch_size / process_count: frames uint8 [B, K, S, S, 3], depth, face_mask
    and score_mask float32 [B, D, D], label and index int32 [B].

  Raises:
    ValueError: if there are no clips or processes do not divide the batch.
  """
  if not rows:
    raise ValueError('There are no clips to train on.')
  if batch_size < 1 or batch_size % process_count:
    raise ValueError(
      f'batch_size {batch_size} must be a positive multiple of the number '
      f'of processes, {process_count}.'
    )
  clips = ClipSource(rows, cache_bytes // max(1, num_workers))
  dataset = grain.MapDataset.source(clips).seed(seed)
  dataset = dataset.shuffle().repeat()[process_index::process_count]
  dataset = dataset.random_map(TrainSnippet(shape, augmentation))
  dataset = dataset.batch(batch_size // process_count, drop_remainder=True)
  return _iterate(dataset[step:], num_workers)


def episode_batches(
  rows: Sequence[Row],
  *,
  episodes: Episodes,
  shape: SnippetShape,
  augmentation: transforms.Augmentation,
  seed: int,
  step: int = 0,
  num_workers: int = 0,
  cache_bytes: int = 0,
) -> Iterator[dict[str, np.ndarray]]:
  """An endless stream of episodes, from a step on.

  Args:
    rows: entries of the index, those that the episodes number.
    episodes: which clips a step holds.
    shape: sizes of a snippet.
    augmentation: strengths of the augmentation.
    seed: of the augmentation.
    step: number of the first episode; episode n is the same whatever the
      first.
    num_workers: see `train_batches`.
    cache_bytes: see `train_batches`.

  Returns:
    As `train_batches`, with a leading axis of `episodes.size`: the tasks one
    after the other, each one's support set before its query set.
  """
  clips = ClipSource(rows, cache_bytes // max(1, num_workers))
  dataset = grain.MapDataset.source(_EpisodeSource(clips, episodes))
  dataset = dataset.seed(seed)
  dataset = dataset.random_map(TrainSnippet(shape, augmentation))
  dataset = dataset.batch(episodes.size, drop_remainder=True)
  return _iterate(dataset[step:], num_workers)


def evaluation_batches(
  rows: Sequence[Row],
  *,
  shape: SnippetShape,
  face_scale: float,
  num_snippets: int,
  batch_size: int,
  num_workers: int = 0,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
  """One pass over all snippets of all clips, in order.

  The last batch is filled up by repeating its last snippet, so that every
  batch has one static shape; `weight` float32 [B] is 0 for the fill. With
  several processes each reads every process_count-th snippet, and all make
  the same number of batches.
  """
  source = _SnippetSource(ClipSource(rows), num_snippets)
  total = len(source)
  local = batch_size // process_count
  places, weights = process_share(
    total, batch_size, process_index, process_count
  )
  dataset = grain.MapDataset.source(_Places(source, places))
  dataset = dataset.map(EvaluationSnippet(shape, face_scale, num_snippets))
  dataset = dataset.batch(local, drop_remainder=True)
  batches = _iterate(dataset, num_workers)
  try:
    for number, batch in enumerate(batches):
      part = weights[number * local : (number + 1) * local]
      yield {**batch, 'weight': part}
  finally:
    batches.close()


def process_share(
  total: int, batch_size: int, process_index: int, process_count: int
) -> tuple[list[int], np.ndarray]:
  """What one process reads of `total` snippets, in whole batches.

  Args:
    total: number of snippets.
    batch_size: of the global batch, a multiple of process_count.
    process_index: of this process.
    process_count: number of processes.

  Returns:
    (places, weights float32): every process_count-th place, filled up with the
    last place, of weight 0, so that all processes have as many.
  """
  rounds = -(-total // batch_size) * (batch_size // process_count)
  places = [process_index + process_count * i for i in range(rounds)]
  weights = np.array([float(place < total) for place in places], np.float32)
  return [min(place, total - 1) for place in places], weights


class _EpisodeSource:
  """The clips of the episodes in a row, as good as without end."""

  def __init__(self, clips: ClipSource, episodes: Episodes):
    self._clips = clips
    self._episodes = episodes

  def __len__(self) -> int:
    return MAX_STEPS * self._episodes.size

  def __getitem__(self, i: int):
    return self._clips[self._episodes.row(i)]


class _Places:
  """A source seen through a list of places."""

  def __init__(self, source: _SnippetSource, places: Sequence[int]):
    self._source = source
    self._places = list(places)

  def __len__(self) -> int:
    return len(self._places)

  def __getitem__(self, i: int):
    return self._source[self._places[i]]


def _iterate(dataset: grain.MapDataset, num_workers: int):
  """An iterator that reads ahead, in threads or in worker processes."""
  options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=16)
  iterable = dataset.to_iter_dataset(options)
  if num_workers:
    iterable = iterable.mp_prefetch(
      grain.MultiprocessingOptions(num_workers=num_workers)
    )
  return iter(iterable)
