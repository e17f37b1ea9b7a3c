"""manifest_fas: a user's own videos and pictures, listed in a CSV file."""

import dataclasses
import pathlib

from nasfas_datasets import clip_config, listing, video_builder
from nasfas_datasets.manifest_fas import manifest


@dataclasses.dataclass(eq=False)
class ManifestConfig(clip_config.ClipConfig):
  """Settings of a build.

  Attributes:
    manifest: the CSV file, absolute or relative to the manual folder; '' is
      manifest.csv.
  """

  manifest: str = ''


class Builder(video_builder.VideoBuilder):
  """Builds records from the rows of a manifest."""

  MANUAL_DOWNLOAD_INSTRUCTIONS = manifest.INSTRUCTIONS
  BUILDER_CONFIGS = [
    ManifestConfig(name='default', description='Crops of 256 pixels.'),
    ManifestConfig(
      name='small',
      size=80,
      description='Crops of 80 pixels, for training at 64.',
    ),
  ]
  CLIPS = 'rows'
  REPORT_COLUMNS = ('row', 'path', 'reason')
  layout = manifest

  def _list(self, root: pathlib.Path) -> listing.Listing:
    return manifest.list_clips(root, self.builder_config.manifest)
