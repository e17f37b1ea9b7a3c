"""Settings of a build that a manifest shares with the licensed datasets."""

import csv

import numpy as np
import pytest
from small_trees import write_video

from nasfas_datasets import clip_config, fas_builder, prepare
from nasfas_datasets.manifest_fas import manifest


def prepared(tmp_path, **settings):
  """The records of a manifest of three videos, by split."""
  root = tmp_path / 'mine'
  rows = []
  for name, split in (('a', 'train'), ('b', 'dev'), ('c', 'test')):
    for label in ('live', 'print'):
      path = root / f'{name}_{label}.avi'
      write_video(path)
      rows.append((path.name, label, label, name, split, 8, 8, 40, 32))
  with open(root / 'manifest.csv', 'w', encoding='utf-8', newline='') as file:
    csv.writer(file).writerows(
      [
        ('path', 'label', 'attack_type', 'subject', 'split')
        + manifest.BOX_COLUMNS,
        *((p, int(label == 'live'), *rest) for p, label, *rest in rows),
      ]
    )
  prepare.prepare(
    'manifest_fas',
    config='small',
    data_dir=tmp_path / 'data',
    manual_dir=root,
    **settings,
  )
  builder_class = fas_builder.builder_class('manifest_fas')
  config = next(c for c in builder_class.BUILDER_CONFIGS if c.name == 'small')
  builder = builder_class(
    config=clip_config.with_settings(config, **settings),
    data_dir=tmp_path / 'data',
  )
  return {s: builder.as_data_source(s)[0] for s in builder.info.splits}


def test_training_clips_are_read_up_to_some_frames(tmp_path):
  found = prepared(tmp_path, train_frames=3)
  assert list(found['train']['frame_index']) == [0, 1, 2]
  assert max(found['test']['frame_index']) > 3


def test_the_box_is_stretched_to_the_square(tmp_path):
  x0, y0, x1, y1 = prepared(tmp_path, border='stretch', margin=1.0)['test'][
    'face_box'
  ]
  # 32 x 24 pixels of the frame fill the crop.
  np.testing.assert_allclose((x0, y0, x1, y1), (0, 0, 80, 80), atol=1e-3)


def test_an_unknown_setting_is_an_error(tmp_path):
  with pytest.raises(TypeError, match='Unknown settings margn; allowed: marg'):
    prepared(tmp_path, margn=2)
