"""The search on real video files, from a CSV to a report."""

import csv

from small_search import small_config

from nasfas_datasets import prepare
from nasfas_datasets.manifest_fas import astronaut_example, manifest
from nasfas_jax import files, search


def drop_boxes(path):
  """Takes the columns of the boxes out of a manifest."""
  with open(path, encoding='utf-8', newline='') as file:
    rows = list(csv.DictReader(file))
  kept = [name for name in rows[0] if name not in manifest.BOX_COLUMNS]
  with open(path, 'w', encoding='utf-8', newline='') as file:
    writer = csv.DictWriter(file, kept, extrasaction='ignore')
    writer.writeheader()
    writer.writerows(rows)


def test_search_on_videos_of_a_manifest(tmp_path, capsys):
  videos = tmp_path / 'videos'
  astronaut_example.write_example(videos)
  drop_boxes(videos / 'manifest.csv')
  prepare.prepare(
    'manifest_fas',
    config='small',
    data_dir=tmp_path / 'data',
    manual_dir=videos,
  )
  config = small_config(warmup_steps=1, num_steps=2)
  config.protocol = 'manifest_fas/official'
  config.data.builder_config = 'small'
  config.data.data_dir = str(tmp_path / 'data')
  config.train.num_steps = 2
  search.search(config, tmp_path / 'run')
  results = files.read_json(tmp_path / 'run' / 'results.json')
  assert results['splits']['test']['num_live'] == 4
  assert set(results['per_type']) == {'print', 'replay'}
  assert (tmp_path / 'run' / 'report' / 'index.html').exists()
  # The run says what its clips lack.
  said = capsys.readouterr().err
  assert 'the whole frame is taken: 48' in said
  assert 'Without a face box: 24 (live 8, attack 16) of 24' in said
