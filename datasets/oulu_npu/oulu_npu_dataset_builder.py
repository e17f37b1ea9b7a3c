"""OULU-NPU: see README.md."""

import dataclasses

from nasfas_datasets import video_builder
from nasfas_datasets.oulu_npu import cdcn_layout, layout


class Builder(video_builder.VideoBuilder):
  """Builds records from OULU-NPU: videos, or CDCN's pictures of them."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = layout.INSTRUCTIONS
  HOMEPAGE = 'https://sites.google.com/site/oulunpudatabase/'
  BUILDER_CONFIGS = [
    *video_builder.CONFIGS,
    *(
      dataclasses.replace(
        config,
        name='cdcn' if config.name == 'default' else f'cdcn_{config.name}',
        description=f"CDCN's pictures and depth maps. {config.description}",
      )
      for config in video_builder.CONFIGS
    ),
  ]
  layout = layout

  @classmethod
  def layout_of(cls, config_name: str):
    return cdcn_layout if config_name.startswith('cdcn') else layout
