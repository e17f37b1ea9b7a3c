"""The search on real video files, from a CSV to a report."""

from small_search import small_config

from nasfas_datasets import prepare
from nasfas_datasets.manifest_fas import astronaut_example
from nasfas_jax import files, search


def test_search_on_videos_of_a_manifest(tmp_path):
  videos = tmp_path / 'videos'
  astronaut_example.write_example(videos)
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
