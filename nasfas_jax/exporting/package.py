"""An export folder: its JSON file, the checksums, and reading it again.

export.json says all that a decision needs, and lists the size and the SHA-256
of every file that is read. It carries a digest of itself. So accidental damage
and careless edits are found. Who can write the folder can also write new sums:
a checksum is no signature.
"""

import dataclasses
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from nasfas_jax import files, inputs
from nasfas_jax.exporting import parameters
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
from nasfas_jax.preprocessing import crop

FILE = 'export.json'
FORMAT = 'nasfas_jax export'
SCHEMA_VERSION = 1
MAX_JSON_BYTES = 8 * 2**20
MAX_FILE_BYTES = 4 * 2**30
MAX_FILES = 10_000
# Of all frames of a clip: 32 snippets of 8 frames of 1024 x 1024.
MAX_PIXELS = 2**28
_KEYS = ('format', 'schema_version', 'digest', 'files')
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
    needs_motion, whole_frames: see `detector.Detector`.
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
  whole_frames: bool


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
  """Writes export.json, with the sums of the files, as the last file.

  Args:
    folder: of the export.
    content: JSON content.
    names: files and folders in it whose sums are kept.

  Raises:
    ValueError: for a NaN or an infinity in the content.
  """
  listed = {}
  for name in names:
    path = folder / name
    found = sorted(p for p in path.rglob('*') if p.is_file())
    for file in found if path.is_dir() else [path]:
      relative = file.relative_to(folder).as_posix()
      listed[relative] = {'bytes': file.stat().st_size, 'sha256': _sum(file)}
  whole = {
    'format': FORMAT,
    'schema_version': SCHEMA_VERSION,
    **content,
    'files': listed,
  }
  files.write_json(folder / FILE, {**whole, 'digest': _digest(whole)})


def _digest(content: dict[str, Any]) -> str:
  kept = {key: value for key, value in content.items() if key != 'digest'}
  text = json.dumps(kept, sort_keys=True, allow_nan=False)
  return hashlib.sha256(text.encode()).hexdigest()


def _sum(path: pathlib.Path) -> str:
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def read_content(folder: str | os.PathLike[str]) -> dict[str, Any]:
  """Reads export.json and verifies every file that it lists.

  Args:
    folder: of the export.

  Returns:
    The content; only the fields of the list of files are checked.

  Raises:
    FileNotFoundError: if there is no export.json.
    ValueError: if it is too large, damaged or of another version, or a file is
      missing, changed or outside the folder; one line that names it.
  """
  folder = pathlib.Path(folder)
  path = folder / FILE
  name = repr(str(path))
  if path.is_symlink():
    raise ValueError(f'{name} is a link; allowed: a file in the folder.')
  with open(path, 'rb') as file:
    data = file.read(MAX_JSON_BYTES + 1)
  if len(data) > MAX_JSON_BYTES:
    raise ValueError(f'{name} is larger than {MAX_JSON_BYTES} bytes.')
  try:
    content = json.loads(data, parse_constant=_refuse)
  except (ValueError, RecursionError) as error:
    raise ValueError(f'{name} is truncated or not JSON: {error}.') from error
  if not isinstance(content, dict) or content.get('format') != FORMAT:
    raise ValueError(f'{name} is not of an export: no "format": {FORMAT!r}.')
  version = content.get('schema_version')
  if version != SCHEMA_VERSION:
    raise ValueError(
      f'{name} has schema_version {version!r}; allowed: {SCHEMA_VERSION} (a '
      'newer export needs a newer nasfas_jax).'
    )
  try:
    digest = _digest(content)
  except ValueError as error:
    # A number such as 1e999, which is read as infinite.
    raise ValueError(f'{name}: {error}') from error
  if content.get('digest') != digest:
    raise ValueError(
      f'{name} was changed after the export: its digest does not fit. Export '
      'the run again.'
    )
  try:
    for file, entry in _entries(content.get('files')):
      _verify(folder, file, entry)
    _nothing_else(folder / parameters.FOLDER, folder, content['files'])
  except ValueError as error:
    raise ValueError(f'{str(folder)!r} is refused: {error}') from error
  return content


def _refuse(name: str) -> None:
  raise ValueError(f'{name} is not allowed')


def _entries(listed: Any) -> Iterator[tuple[str, dict]]:
  check_type('files', listed, dict, 'an object')
  if len(listed) > MAX_FILES:
    raise ValueError(f'files: {len(listed)}; allowed: {MAX_FILES} or fewer.')
  for file, entry in listed.items():
    check_fields(f'files[{file!r}]', entry, ('bytes', 'sha256'))
    check_integer(f'files[{file!r}].bytes', entry['bytes'], 0, MAX_FILE_BYTES)
    check_type(f'files[{file!r}].sha256', entry['sha256'], str, 'a string')
    yield file, entry


def _verify(folder: pathlib.Path, file: str, entry: dict) -> None:
  parts = file.split('/')
  outside = any(part in ('', '.', '..') for part in parts)
  if outside or '\\' in file or ':' in file or '\0' in file or len(file) > 512:
    raise ValueError(f'the name {file!r} leads outside the folder.')
  path = folder.joinpath(*parts)
  for place in (path, *list(path.parents)[: len(parts) - 1]):
    if place.is_symlink():
      raise ValueError(f'{file!r} is a link; allowed: files in the folder.')
  if not path.is_file():
    raise ValueError(f'the file {file!r} is missing.')
  size = path.stat().st_size
  if size != entry['bytes']:
    raise ValueError(
      f'the file {file!r} has {size} bytes, not {entry["bytes"]} as exported.'
    )
  if _sum(path) != entry['sha256']:
    raise ValueError(
      f'the file {file!r} was changed after the export: its SHA-256 does not '
      'fit.'
    )


def _nothing_else(
  inside: pathlib.Path, folder: pathlib.Path, listed: dict
) -> None:
  """Orbax looks for files by name, so none may lie beside those listed."""
  for path in inside.rglob('*'):
    file = path.relative_to(folder).as_posix()
    if file not in listed and (path.is_symlink() or not path.is_dir()):
      raise ValueError(f'the file {file!r} is not of the export.')


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
  check_fields('threshold', threshold, ('value', 'rule', 'source'))
  check_number('threshold.value', threshold['value'], -math.inf, math.inf)
  for field in ('rule', 'source'):
    check_type(f'threshold.{field}', threshold[field], str, 'a string')
  for field in ('name', 'trained_on'):
    check_type(field, content[field], str, 'a string')
  for field in ('needs_motion', 'whole_frames'):
    check_type(field, content[field], bool, 'true or false')
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
    whole_frames=content['whole_frames'],
  )
