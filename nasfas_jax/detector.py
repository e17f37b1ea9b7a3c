"""A trained network as a detector of attacks: from frames to a score.

`load` reads the workdir of a run. A clip goes the way of a prepared dataset:
one face box, the wide crop of the builders, then the crop, the snippets and the
score of the evaluation, each by the function that is used there.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from nasfas_jax import (
  checkpoints,
  files,
  inputs,
  models,
  run_config,
  scoring,
  settings,
)
from nasfas_jax.data import transforms
from nasfas_jax.models import genotypes
from nasfas_jax.preprocessing import crop, preparation

# Snippets that the network takes at once.
_MAX_BATCH = 8


@dataclasses.dataclass(frozen=True)
class Threshold:
  """Live is a score above `value`.

  Attributes:
    value: of the score.
    rule: how it was chosen, such as 'EER point of the dev clips'.
    source: the file that it was read from.
  """

  value: float
  rule: str
  source: str


@dataclasses.dataclass(frozen=True)
class Reading:
  """How a clip is read, as in the evaluation of the run.

  Attributes:
    preparation: of the wide crops.
    image_size: side of the network's input.
    num_frames: frames of a snippet.
    num_snippets: snippets of a clip; their scores are averaged.
    face_scale: side of the crop over the larger side of the face box.
    map_size: side of the network's map.
  """

  preparation: preparation.Preparation
  image_size: int
  num_frames: int
  num_snippets: int
  face_scale: float
  map_size: int


@dataclasses.dataclass(frozen=True, eq=False)
class Detector:
  """A trained network with all that a decision needs.

  Attributes:
    model: the network.
    variables: dict with 'params' and 'batch_stats'.
    form: of the network's input.
    reading: of clips.
    threshold: of the score.
    genotype: of the network; None for a network without one, such as CDCN.
    name: 'genotype', 'cdcn' or 'cdcnpp'.
    source: the folder that it was loaded from.
  """

  model: nn.Module
  variables: dict
  form: inputs.InputForm
  reading: Reading
  threshold: Threshold
  genotype: genotypes.Genotype | None
  name: str
  source: str

  @functools.cached_property
  def _predict(self) -> scoring.Predict:
    mesh = Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1), ('task', 'data'))
    return scoring.make_predict(self.model, self.variables, self.form, mesh)

  def snippets(
    self, pictures: Sequence[np.ndarray], face_box: np.ndarray
  ) -> dict[str, np.ndarray]:
    """The network's frames, from the wide crops of a clip.

    Args:
      pictures: uint8 RGB [size, size, 3], the crops of a clip.
      face_box: floats [4], in pixels of the crops.

    Returns:
      'frames' uint8 [N, K, S, S, 3] and 'score_mask' float32 [N, D, D], for
      each of N snippets.
    """
    reading = self.reading
    record = {
      'frames': pictures,
      # As a record holds it.
      'face_box': np.asarray(face_box, np.float32),
      'depth': (),
    }
    made = [
      transforms.make_snippet(
        record,
        transforms.even_frame_indices(
          len(pictures), reading.num_frames, number, reading.num_snippets
        ),
        image_size=reading.image_size,
        map_size=reading.map_size,
        face_scale=reading.face_scale,
        flip=False,
      )
      for number in range(reading.num_snippets)
    ]
    return {
      name: np.stack([snippet[name] for snippet in made])
      for name in ('frames', 'score_mask')
    }

  def score_snippets(
    self, snippets: dict[str, np.ndarray]
  ) -> tuple[np.ndarray, np.ndarray]:
    """The scores and maps of snippets; compiles the network at the first call.

    Args:
      snippets: see `snippets`.

    Returns:
      float32 [N] and [N, D, D].
    """
    number = len(snippets['frames'])
    size = min(_MAX_BATCH, self.reading.num_snippets)
    scores, maps = [], []
    for first in range(0, number, size):
      # One shape, one program: the last snippet fills the batch.
      places = np.minimum(np.arange(first, first + size), number - 1)
      batch = {name: array[places] for name, array in snippets.items()}
      batch['index'] = np.arange(size, dtype=np.int32)
      batch['weight'] = np.ones(size, np.float32)
      out = self._predict(batch)
      scores.append(out['score'])
      maps.append(out['map'])
    return np.concatenate(scores)[:number], np.concatenate(maps)[:number]

  def score(self, frames: np.ndarray, box: Sequence[float]) -> float:
    """The score of a clip; higher is more evidence for live.

    Args:
      frames: uint8 RGB [T, H, W, 3], whole and upright.
      box: x0, y0, x1, y1 of the face in pixels of the frames.

    Raises:
      ValueError: for frames or a box of another form.
    """
    if getattr(frames, 'dtype', None) != np.uint8 or frames.ndim != 4:
      raise ValueError('frames must be a uint8 array [T, H, W, 3].')
    height, width = frames.shape[1:3]
    box = crop.check_box(box, width, height)
    prepared = self.reading.preparation
    square = crop.square_around(box, prepared.margin)
    pictures = [
      crop.cut(frame, square, prepared.size, border=prepared.border)
      for frame in frames
    ]
    inner = crop.box_in_crop(box, square, prepared.size)
    scores, _ = self.score_snippets(self.snippets(pictures, inner))
    return float(np.mean(scores, dtype=np.float64))


def load(path: str | os.PathLike[str]) -> Detector:
  """Loads the finished run in a workdir.

  Args:
    path: the workdir of a training or of a search.

  Raises:
    ValueError: if the folder holds no run, or one that is unfinished, damaged
      or of another version.
    FileNotFoundError: if a file of the run is missing.
  """
  source = pathlib.Path(path)
  config = run_config.read(source)
  chosen = config.model
  if chosen == 'genotype':
    chosen = genotypes.load(source / 'genotype.json')
  model = settings.network(config, chosen)
  one_device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  template = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=one_device
    ),
    jax.eval_shape(
      functools.partial(models.initialize, model),
      jax.random.key(0),
      settings.example_input(config),
    ),
  )
  variables, step = checkpoints.restore_variables(
    checkpoints.folder(source, 'train'), template
  )
  if step < config.train.num_steps:
    raise ValueError(
      f'The run in {str(source)!r} is not finished: its newest checkpoint is '
      f'of step {step} of {config.train.num_steps}. The command that started '
      'it resumes it.'
    )
  data = files.read_json(source / 'data.json')
  return Detector(
    model=model,
    variables=variables,
    form=settings.input_form(config),
    reading=Reading(
      preparation=preparation.from_versions(data['versions']),
      image_size=config.data.image_size,
      num_frames=config.data.num_frames,
      num_snippets=config.data.num_snippets,
      face_scale=config.data.eval_face_scale,
      map_size=config.network.output_size,
    ),
    threshold=read_threshold(source),
    genotype=chosen if isinstance(chosen, genotypes.Genotype) else None,
    name=config.model,
    source=str(source),
  )


def read_threshold(source: pathlib.Path) -> Threshold:
  """The threshold of a run: that of threshold.json, else of results.json."""
  path = source / 'threshold.json'
  if path.exists():
    found = files.read_json(path)
  else:
    path = source / 'results.json'
    found = files.read_json(path)['threshold']
  return Threshold(float(found['value']), str(found['rule']), str(path))
