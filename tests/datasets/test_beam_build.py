"""The build on Apache Beam against that of one process."""

import csv
import importlib.util
import json

import pytest
from small_trees import make_tree

from nasfas_datasets import beam_build, fas_builder, prepare
from nasfas_jax import records

needs_beam = pytest.mark.skipif(
  importlib.util.find_spec('apache_beam') is None,
  reason='needs the extra [beam]',
)
# Beam and its gRPC warn of much that is not ours.
quiet = pytest.mark.filterwarnings('ignore')


def build(root, data_dir, **options):
  return prepare.prepare(
    'three_d_mad',
    config='small',
    data_dir=data_dir,
    manual_dir=root,
    allow_missing=True,
    **options,
  )


def content(data_dir):
  builder = fas_builder.builder_class('three_d_mad')(
    config='small', data_dir=data_dir
  )
  return [
    {
      name: value.tobytes() if hasattr(value, 'tobytes') else value
      for name, value in record.items()
    }
    for split in sorted(builder.info.splits)
    for record in builder.as_data_source(split)
  ]


@needs_beam
@quiet
def test_the_records_are_those_of_one_process_in_their_order(tmp_path):
  root = make_tree('three_d_mad', tmp_path / 'mad')
  here = build(root, tmp_path / 'here')
  there = build(root, tmp_path / 'there', use_beam=True)
  mine, theirs = content(tmp_path / 'here'), content(tmp_path / 'there')
  assert len(mine) > 5
  for first, second in zip(mine, theirs, strict=True):
    assert first == second
  index, other = (
    (folder / records.INDEX_FILE).read_text() for folder in (here, there)
  )
  assert index == other


@needs_beam
@quiet
def test_skipped_clips_are_listed_or_too_many(tmp_path):
  root = make_tree('three_d_mad', tmp_path / 'mad')
  (root / '01_01_01.hdf5').write_text('no recording')
  with pytest.raises(ValueError, match='1 of 12 clips cannot be used'):
    build(root, tmp_path / 'a', use_beam=True)
  assert not list((tmp_path / 'a').rglob('*array_record*'))
  shards = build(root, tmp_path / 'b', use_beam=True, max_bad_share=0.5)
  with open(shards / 'skipped.csv', encoding='utf-8') as file:
    assert [row[0] for row in csv.reader(file)] == ['path', '01_01_01']
  lines = (shards / records.INDEX_FILE).read_text().splitlines()
  assert len(lines) == 11
  assert '01_01_01' not in {json.loads(line)['clip_id'] for line in lines}


def test_without_beam_the_error_names_the_extra(monkeypatch):
  import builtins

  real = builtins.__import__

  def no_beam(name, *args, **kwargs):
    if name.startswith('apache_beam'):
      raise ImportError(name)
    return real(name, *args, **kwargs)

  monkeypatch.setattr(builtins, '__import__', no_beam)
  with pytest.raises(ImportError, match=r'nasfas_jax\[beam\]'):
    beam_build.options([])


def test_what_is_not_made_of_videos_is_not_built_on_beam(tmp_path):
  with pytest.raises(ValueError, match='is not built on Apache Beam'):
    prepare.prepare('synthetic_fas', data_dir=tmp_path, use_beam=True)
