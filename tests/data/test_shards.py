"""Shards that are not as they were written: named before a clip is read."""

import json
import os
import shutil

import pytest

from nasfas_jax import records
from nasfas_jax.data import index


@pytest.fixture
def prepared(tiny_data_dir, tmp_path):
  """A copy of the small dataset: (its data_dir, shard by split)."""
  source = index.find_dataset(tiny_data_dir, 'synthetic_fas', 'tiny')
  folder = tmp_path / source.relative_to(tiny_data_dir)
  shutil.copytree(source, folder)
  shards = {
    name: next(folder.glob(f'*-{name}.array_record-*'))
    for name in ('train', 'dev', 'test')
  }
  return tmp_path, shards


def load(data_dir):
  return index.load_index(data_dir, 'synthetic_fas', 'tiny')


def test_whole_shards_are_read(prepared):
  data_dir, shards = prepared
  folder = shards['train'].parent
  assert load(data_dir)
  listed = json.loads((folder / records.SHARDS_FILE).read_text())
  assert sorted(listed) == sorted(path.name for path in shards.values())


def swap(shards):
  """Of another split under the right name, and of its size."""
  data = shards['dev'].read_bytes()
  size = shards['train'].stat().st_size
  shards['train'].write_bytes(data[:size].ljust(size, b'\0'))


def exchange(shards):
  kept = shards['train'].read_bytes()
  shutil.copy(shards['dev'], shards['train'])
  shards['dev'].write_bytes(kept)


DAMAGES = {
  'missing': (lambda shards: shards['train'].unlink(), 'is missing'),
  'truncated': (
    lambda shards: os.truncate(
      shards['train'], shards['train'].stat().st_size - 1
    ),
    r'is truncated: \d+ of \d+ bytes',
  ),
  'empty': (
    lambda shards: os.truncate(shards['train'], 0),
    r'is truncated: 0 of \d+ bytes',
  ),
  'swapped': (swap, 'is not the one that was written: .* another split or'),
  'exchanged': (exchange, 'is (not the one that was written|truncated)'),
  'a folder': (
    lambda shards: (shards['train'].unlink(), shards['train'].mkdir()),
    'cannot be read .Is a directory',
  ),
}


@pytest.mark.parametrize('kind', DAMAGES)
def test_a_shard_that_is_not_as_written_is_one_line(prepared, kind):
  data_dir, shards = prepared
  damage, reason = DAMAGES[kind]
  damage(shards)
  with pytest.raises(ValueError) as error:
    load(data_dir)
  said = str(error.value)
  assert said.startswith("The shard '") and '\n' not in said
  error.match(reason)
  named = 'dev' if kind == 'exchanged' and 'dev.array' in said else 'train'
  assert repr(str(shards[named])) in said
  assert '--dataset=synthetic_fas --config=tiny' in said
  assert said.endswith('--replace')


@pytest.mark.parametrize('content', ['{"a": ', '[]', '{"a": 1}', '{"a": {}}'])
def test_a_damaged_list_of_shards_is_named(prepared, content):
  data_dir, shards = prepared
  path = shards['train'].parent / records.SHARDS_FILE
  path.write_text(content)
  with pytest.raises(ValueError, match=records.SHARDS_FILE):
    load(data_dir)


def test_a_dataset_without_a_list_is_read(prepared):
  data_dir, shards = prepared
  (shards['train'].parent / records.SHARDS_FILE).unlink()
  assert load(data_dir)
