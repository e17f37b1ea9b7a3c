"""What every dataset of videos keeps to, by its `example_tree`.

Used on each folder that is listed, and on one that lives in the tests.
"""

import csv
import re

import numpy as np
import pytest
import small_trees
import trees

from nasfas_datasets import fas_builder, folders, prepare
from nasfas_jax import records, stored_frames
from nasfas_jax.data import index, protocols

# What TFDS and a reader look for in a folder, beside the builder.
FILES = ('README.md', 'CITATIONS.bib', 'TAGS.txt', '__init__.py')


def list_all(name, root):
  """The listing of the complete list of names."""
  tree = trees.write(root, trees.example(name).names())
  trees.write_lists(name, tree)
  return fas_builder.builder_class(name).list_clips(tree)


def index_rows(name, clips):
  """The rows that the index of these clips will have."""
  return [
    {
      **{
        field: getattr(clip, field)
        for field in records.INDEX_FIELDS
        if field != 'dataset'
      },
      'dataset': name,
    }
    for clip in clips
  ]


def check_folder(name):
  folder = folders.dataset_folders()[name]
  missing = [file for file in FILES if not (folder / file).is_file()]
  assert not missing
  readme = (folder / 'README.md').read_text(encoding='utf-8')
  command = rf'python -m nasfas_datasets\.prepare --dataset={name}\b'
  assert re.search(command, readme)
  # TFDS takes the description and the citation of the builder from them.
  builder = fas_builder.builder_class(name)
  assert builder.name == name
  assert builder.pkg_dir_path == folder.resolve()


def check_counts(name, found):
  """`found` is the listing of the complete list of names."""
  expected = trees.example(name).COUNTS
  summary = found.summary()
  assert summary['clips'] == expected['clips']
  assert summary['label'].get('1') == expected['live']
  assert summary['subjects'] == expected['subjects']
  assert summary['split'] == expected['split']
  assert not found.skipped and not found.missing
  assert len({clip.clip_id for clip in found.clips}) == expected['clips']


def check_fields(name, found):
  clips = {clip.clip_id: clip for clip in found.clips}
  examples = trees.example(name).FIELDS
  assert examples
  for clip_id, fields in examples.items():
    clip = clips[clip_id]
    assert {key: getattr(clip, key) for key in fields} == fields


def check_refused(name, bad, reason, root):
  """A name that does not fit is skipped with its reason."""
  names = {*trees.example(name).names(), bad}
  trees.write_lists(name, trees.write(root, sorted(names)))
  found = fas_builder.builder_class(name).list_clips(root)
  ((_, why),) = found.skipped
  assert reason in why


def counts(protocol_name, rows):
  """(live, spoof) of train, dev and test; rows: dataset -> index rows."""
  protocol = protocols.get_protocol(protocol_name)
  clips = [row for dataset in protocol.datasets for row in rows[dataset]]
  chosen = protocols.select(protocol, clips)

  def count(part):
    live = sum(row['label'] for row in part)
    return live, len(part) - live

  return count(chosen.train), count(chosen.dev), count(chosen.test)


def build(name, folder):
  """Prepares the small tree: its index rows and the folder of the shards."""
  shards = prepare.prepare(
    name,
    config='small',
    data_dir=folder / 'data',
    manual_dir=small_trees.make_tree(name, folder / name),
    allow_missing=True,
  )
  return index.load_index(folder / 'data', name, 'small'), shards


def check_built(name, folder, rows, shards):
  """Every clip of the small tree is a record with its face; see `build`."""
  listed = fas_builder.builder_class(name).list_clips(folder / name).clips
  assert len(rows) == len(listed) > 1
  with open(shards / 'skipped.csv', encoding='utf-8') as file:
    assert list(csv.reader(file)) == [['path', 'reason']]
  builder = fas_builder.builder_class(name)(
    config='small', data_dir=folder / 'data'
  )
  record = builder.as_data_source(rows[0]['tfds_split'])[0]
  num_frames = getattr(trees.example(name), 'NUM_FRAMES', 8)
  assert len(record['frames']) == num_frames
  picture = stored_frames.decode(record['frames'])[0]
  assert picture.shape == (80, 80, 3)
  x0, y0, x1, y1 = np.round(record['face_box']).astype(int)
  # The crop is 1.6 times the face.
  assert 80 / max(x1 - x0, y1 - y0) == pytest.approx(1.6, rel=0.1)
  if trees.example(name).TELLS_FACES:
    inside = picture[y0 + 8 : y1 - 8, x0 + 8 : x1 - 8].mean()
    assert inside > 180, 'the box is not on the face'
  assert record['depth'].shape == (num_frames, 32, 32)
