"""Readers of genotypes and configs under damaged input.

Whatever a file holds, it is read or refused by a ValueError of one line.
"""

import copy
import json

import numpy as np
import pytest
from fuzz_cases import CASES

from nasfas_configs import search as search_config
from nasfas_jax import config_checks, run_config
from nasfas_jax.models import genotypes

JUNK = (
  *(None, True, -1, 0, 1, 17, 2**63, 10**400, -0.5, 0.5, 1e300, 1e-300),
  *(float('nan'), float('inf'), '', 'x', '\n', '\x00', 'é漢\ud800', '../x'),
  *([], [[]], [0.5], [1, 2], {}, {'a': 1}, {'': {}}),
)


def places(value, path=()):
  """The paths of all values inside a JSON value."""
  yield path
  items = ()
  if isinstance(value, dict):
    items = value.items()
  elif isinstance(value, list):
    items = enumerate(value)
  for key, item in items:
    yield from places(item, (*path, key))


def damaged(value, rng):
  """A JSON value with some of its values replaced, dropped or doubled."""
  value = copy.deepcopy(value)
  for _ in range(rng.integers(1, 4)):
    found = list(places(value))[1:]
    if not found:
      break
    *path, key = found[rng.integers(len(found))]
    parent = value
    for step in path:
      parent = parent[step]
    kind = rng.integers(4)
    if kind == 0:
      del parent[key]
    elif kind == 1:
      twice = copy.deepcopy(parent[key])
      if isinstance(parent, list):
        parent.append(twice)
      else:
        parent[f'{key}2'] = twice
    else:
      parent[key] = copy.deepcopy(JUNK[rng.integers(len(JUNK))])
  return value


def damaged_bytes(data, rng):
  """Bytes with some of them changed, cut off or repeated."""
  data = bytearray(data)
  for _ in range(rng.integers(1, 4)):
    place = int(rng.integers(len(data))) if data else 0
    kind = rng.integers(4)
    if kind == 0:
      del data[place:]
    elif kind == 1:
      data[place:place] = data[: rng.integers(40)]
    elif data:
      data[place] = rng.integers(256)
  return bytes(data)


def cases(document):
  """Texts of a JSON document, one half damaged as values."""
  rng = np.random.default_rng(0)
  whole = json.dumps(document).encode()
  for case in range(CASES):
    if case % 2:
      yield damaged_bytes(whole, rng)
    else:
      yield json.dumps(damaged(document, rng)).encode()


def assert_clean(error):
  text = str(error)
  assert text.strip()
  assert len(text) < 4000


def test_a_genotype_is_read_or_refused(tmp_path):
  path = tmp_path / 'genotype.json'
  read = 0
  for data in cases(json.loads(genotypes.CDCNPP.to_json())):
    path.write_bytes(data)
    try:
      found = genotypes.load(path)
    except ValueError as error:
      assert_clean(error)
      assert str(path) in str(error)
    else:
      assert genotypes.from_json(found.to_json()) == found
      read += 1
  # Some damage is in what may be anything, such as the provenance.
  assert 0 < read < CASES / 3


def test_a_config_is_read_or_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(run_config.progress, 'say', lambda text: None)
  path = tmp_path / run_config.FILE
  content = json.loads(json.dumps(search_config.get_config().to_dict()))
  passed = 0
  for data in cases(content):
    path.write_bytes(data)
    try:
      config = run_config.read(tmp_path)
      config_checks.check(config)
    except ValueError as error:
      assert_clean(error)
      assert str(path) in str(error) or 'config.' in str(error)
    else:
      passed += 1
  assert 0 < passed < CASES / 2


@pytest.mark.parametrize('digits', [400, 5000])
def test_an_output_weight_beyond_every_float_is_refused(tmp_path, digits):
  document = json.loads(genotypes.CDCNPP.to_json())
  document['cells']['low'][0]['outputs'][0]['weight'] = 'here'
  text = json.dumps(document).replace('"here"', '1' + '0' * digits)
  path = tmp_path / 'genotype.json'
  path.write_text(text)
  with pytest.raises(ValueError, match="genotype.json'") as error:
    genotypes.load(path)
  assert len(str(error.value)) < 400
