"""An export folder: what its JSON file says, and reading it again.

export.json says all that a decision needs, and seals the folder, see `sealed`.
"""

import dataclasses
import json
import math
import os
import pathlib
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from nasfas_jax import inputs
from nasfas_jax.exporting import parameters, sealed
from nasfas_jax.models import genotypes
from nasfas_jax.models.cdcn import CDCN
from nasfas_jax.models.network import Network
from nasfas_jax.models.schema_checks import (
  check_fields,
  check_integer,
  check_number,
  check_type,
)
from nasfas_jax.ops import fusion, rank_pooling
from nasfas_jax.preprocessing import clip_crops, crop

FILE = 'export.json'
KIND = sealed.Kind(
  file=FILE,
  format='nasfas_jax export',
  version=1,
  name='export',
  arrays=parameters.FOLDER,
  again='Export the run again.',
)
# Of all frames of a clip: 32 snippets of 8 frames of 1024 x 1024.
MAX_PIXELS = 2**28
_READING = {
  'image_size': 4096,
  'num_frames': 512,
  'num_snippets': 1024,
  'map_size': 4096,
}
# Attributes of the modules that JSON keeps as they are.
_NETWORK = ('cell_features', 'head_features', 'output_size', 'two_stream')
_CDCN = ('stem_features', 'output_size', 'theta')


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
  """The parts of a detector.

  Attributes:
    model: the network, in float32.
    variables: dict with 'params' and 'batch_stats'.
    form: of the network's input.
    reading: fields of `detector.Reading`; 'preparation' is a dict.
    threshold: fields of `detector.Threshold`.
    genotype: None for a network without one.
    name: 'genotype', 'cdcn' or 'cdcnpp'.
    trained_on: name of the protocol.
    needs_motion, boxes: see `detector.Detector`.
  """

  model: nn.Module
  variables: dict
  form: inputs.InputForm
  reading: dict[str, Any]
  threshold: dict[str, Any]
  genotype: genotypes.Genotype | None
  name: str
  trained_on: str
  needs_motion: bool
  boxes: tuple[str, ...]


def is_export(folder: str | os.PathLike[str]) -> bool:
  """Whether a folder claims to be an export."""
  return (pathlib.Path(folder) / FILE).is_file()


def describe_network(model: nn.Module) -> dict[str, Any]:
  """The sizes of a network as JSON content; its weights are not in it.

  Raises:
    ValueError: for a module that is neither a `Network` nor a `CDCN`.
  """
  if isinstance(model, Network):
    return {
      'kind': 'Network',
      'stem_features': list(model.stem_features),
      **{name: getattr(model, name) for name in _NETWORK},
      'genotype': json.loads(model.genotype.to_json()),
    }
  if isinstance(model, CDCN):
    return {
      'kind': 'CDCN',
      'block_features': list(model.block_features),
      'head_features': list(model.head_features),
      **{name: getattr(model, name) for name in _CDCN},
    }
  raise ValueError(
    f'A {type(model).__name__} cannot be exported; allowed: Network, CDCN.'
  )


def _width(path: str, value: Any) -> int:
  check_integer(path, value, 1, 65_536)
  return value


def _widths(path: str, value: Any, number: int | None = None) -> tuple:
  check_type(path, value, list, 'a list')
  if number is not None and len(value) != number or not 1 <= len(value) <= 64:
    raise ValueError(f'{path}: {len(value)} entries; allowed: {number or 64}.')
  return tuple(_width(f'{path}[{i}]', item) for i, item in enumerate(value))


def make_network(content: Any) -> nn.Module:
  """The network of `describe_network`, in float32.

  Raises:
    ValueError: for an invalid field; names it.
  """
  check_type('network', content, dict, 'an object')
  if content.get('kind') == 'CDCN':
    check_fields(
      'network', content, ('kind', 'block_features', 'head_features', *_CDCN)
    )
    check_number('network.theta', content['theta'], 0.0, 1.0)
    return CDCN(
      stem_features=_width('network.stem_features', content['stem_features']),
      block_features=_widths(
        'network.block_features', content['block_features'], 3
      ),
      head_features=_widths(
        'network.head_features', content['head_features'], 2
      ),
      output_size=_width('network.output_size', content['output_size']),
      theta=content['theta'],
      dtype=jnp.float32,
    )
  if content.get('kind') != 'Network':
    raise ValueError(
      f'network.kind: {content.get("kind")!r}; allowed: Network, CDCN.'
    )
  check_fields(
    'network', content, ('kind', 'stem_features', 'genotype', *_NETWORK)
  )
  check_type('network.two_stream', content['two_stream'], bool, 'true, false')
  check_type('network.genotype', content['genotype'], dict, 'an object')
  return Network(
    genotypes.from_json(json.dumps(content['genotype'])),
    stem_features=_widths('network.stem_features', content['stem_features'], 2),
    **{
      name: _width(f'network.{name}', content[name])
      for name in ('cell_features', 'head_features', 'output_size')
    },
    two_stream=content['two_stream'],
    dtype=jnp.float32,
  )


def write(
  folder: pathlib.Path, content: dict[str, Any], names: list[str]
) -> None:
  """Writes export.json as the last file, see `sealed.write`."""
  sealed.write(folder, KIND, content, names)


def read_content(folder: str | os.PathLike[str]) -> dict[str, Any]:
  """Reads export.json and verifies every file, see `sealed.read`."""
  return sealed.read(folder, KIND)


def read(folder: str | os.PathLike[str]) -> Parts:
  """Reads an export folder with everything in it verified.

  Raises:
    FileNotFoundError: if there is no export.json.
    ValueError: as `read_content`, or for a field that is not valid, or if the
      export has no parameters; one line that names the file.
  """
  folder = pathlib.Path(folder)
  content = read_content(folder)
  try:
    checked = check_parts(content)
    return dataclasses.replace(
      checked,
      variables=parameters.read(
        folder / parameters.FOLDER,
        parameters.template(
          checked.model, checked.reading['image_size'], checked.form.channels
        ),
      ),
    )
  except (KeyError, RecursionError) as error:
    raise ValueError(
      f'{str(folder / FILE)!r}: the field {error} is missing.'
    ) from error
  except ValueError as error:
    raise ValueError(f'{str(folder / FILE)!r}: {error}') from error


def check_parts(content: dict[str, Any]) -> Parts:
  """The parts of a detector but for its variables, which are {}.

  Raises:
    ValueError: for a field that is not valid, or if the export has no
      parameters.
    KeyError: for a field that is missing.
  """
  model = make_network(content['network'])
  source = content['input']
  check_type('input', source, dict, 'an object')
  for field, allowed in (
    ('fusion', fusion.FUSIONS),
    ('rank_pooling', rank_pooling.KINDS),
    ('normalization', inputs.NORMALIZATIONS),
  ):
    if source[field] not in allowed:
      raise ValueError(
        f'input.{field}: {source[field]!r}; allowed: {", ".join(allowed)}.'
      )
  form = inputs.InputForm(
    source['fusion'], source['rank_pooling'], source['normalization']
  )
  if getattr(model, 'two_stream', False) != (form.fusion == 'two_stream'):
    raise ValueError(
      f'input.fusion: {form.fusion!r} does not fit network.two_stream.'
    )
  reading = content['reading']
  check_fields('reading', reading, ('preparation', 'face_scale', *_READING))
  for field, most in _READING.items():
    check_integer(f'reading.{field}', reading[field], 1, most)
  check_number('reading.face_scale', reading['face_scale'], 0.01, 100.0)
  if reading['map_size'] != model.output_size:
    raise ValueError(
      f'reading.map_size: {reading["map_size"]}; the network makes maps of '
      f'{model.output_size}.'
    )
  prepared = reading['preparation']
  check_fields(
    'reading.preparation', prepared, ('size', 'num_frames', 'margin', 'border')
  )
  for field, most in (('size', 4096), ('num_frames', 512)):
    check_integer(f'reading.preparation.{field}', prepared[field], 1, most)
  check_number('reading.preparation.margin', prepared['margin'], 0.01, 100.0)
  for number, side, field in (
    (
      reading['num_snippets'] * reading['num_frames'],
      reading['image_size'],
      'reading',
    ),
    (prepared['num_frames'], prepared['size'], 'reading.preparation'),
  ):
    if number * side**2 > MAX_PIXELS:
      raise ValueError(
        f'{field}: {number} frames of {side} x {side} pixels a clip; allowed: '
        f'{MAX_PIXELS} pixels or fewer.'
      )
  if prepared['border'] not in (*crop.BORDERS, 'stretch'):
    raise ValueError(
      f'reading.preparation.border: {prepared["border"]!r}; allowed: '
      f'{", ".join(crop.BORDERS)}, stretch.'
    )
  threshold = content['threshold']
  if isinstance(threshold, dict):
    # Earlier exports have none.
    threshold = {'warning': '', **threshold}
  check_fields('threshold', threshold, ('value', 'rule', 'source', 'warning'))
  check_number('threshold.value', threshold['value'], -math.inf, math.inf)
  for field in ('rule', 'source', 'warning'):
    check_type(f'threshold.{field}', threshold[field], str, 'a string')
  for field in ('name', 'trained_on'):
    check_type(field, content[field], str, 'a string')
  check_type('needs_motion', content['needs_motion'], bool, 'true or false')
  boxes = content.get('boxes')
  if boxes is None:
    # An earlier export says only this of them.
    whole = content['whole_frames']
    check_type('whole_frames', whole, bool, 'true or false')
    boxes = [clip_crops.WHOLE_FRAME] if whole else []
  check_type('boxes', boxes, list, 'a list')
  for i, origin in enumerate(boxes):
    check_type(f'boxes[{i}]', origin, str, 'a string')
  check_type('files', content['files'], dict, 'an object')
  if f'{parameters.FOLDER}/_METADATA' not in content['files']:
    raise ValueError(
      "the export has no parameters; export the run with 'orbax' among "
      '--config.formats.'
    )
  return Parts(
    model=model,
    variables={},
    form=form,
    reading=reading,
    threshold=threshold,
    genotype=model.genotype if content['name'] == 'genotype' else None,
    name=content['name'],
    trained_on=content['trained_on'],
    needs_motion=content['needs_motion'],
    boxes=tuple(boxes),
  )
