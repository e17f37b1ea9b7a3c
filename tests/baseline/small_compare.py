"""A comparison that is small."""

from nasfas_configs import compare as compare_config


def nothing(config):
  """The data are there."""


def small_config(data_dir):
  config = compare_config.get_config('debug')
  config.data.data_dir = str(data_dir)
  config.data.image_size = 16
  config.data.num_frames = 2
  config.input.fusion = 'static'
  config.model = 'cdcn'
  config.network.stem_features = (4, 4)
  config.network.cell_features = 4
  config.network.head_features = 4
  config.network.output_size = 4
  config.supernet.update(
    stem_features=(2, 4), cell_features=4, head_features=4, output_size=4
  )
  config.supernet.update(num_nodes=1, partial_channels=1)
  config.compare.batch_size = config.compare.search_batch_size = 8
  config.compare.sections = ('network', 'metrics')
  return config
