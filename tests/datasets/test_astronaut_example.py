"""The example's video files go through the builder and the protocol."""

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from nasfas_datasets.manifest_fas import (
  astronaut_example,
  manifest,
  manifest_fas_dataset_builder,
)
from nasfas_jax.data import index, protocols


@pytest.fixture(scope='module')
def example(tmp_path_factory):
  folder = tmp_path_factory.mktemp('astronaut')
  astronaut_example.write_example(folder)
  return folder


def test_manifest_is_clean(example):
  found = manifest.list_clips(example)
  assert len(found.clips) == 48 and found.bad == []
  assert {row.path.suffix for row in found.clips} == {'.avi', '.mp4'}


def test_official_protocol_can_run_on_it(example, tmp_path):
  builder = manifest_fas_dataset_builder.Builder(
    config='small', data_dir=tmp_path
  )
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=example)
  )
  rows = index.load_index(tmp_path, 'manifest_fas', 'small')
  selection = protocols.select(
    protocols.get_protocol('manifest_fas/official'), rows
  )
  assert [len(selection.train), len(selection.dev), len(selection.test)] == [
    24,
    12,
    12,
  ]
  assert selection.dev_source == 'dev'
  assert all(half for half in index.split_halves(selection.train))


def test_only_the_live_head_has_parallax():
  """A plane's motion is a homography; a turning head's is not."""
  subject = astronaut_example.make_subject(0)
  residuals = {}
  for name, maker in (
    ('live', astronaut_example.live_frames),
    ('print', astronaut_example.print_frames),
  ):
    frames = maker(subject, np.random.default_rng(3))
    first, last = (
      cv2.GaussianBlur(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), (0, 0), 2)
      for f in (frames[0], frames[8])
    )
    grid = np.stack(np.meshgrid(np.arange(24, 170, 6), np.arange(24, 170, 6)))
    points = grid.reshape(2, -1).T.astype(np.float32)[:, None]
    moved, found, _ = cv2.calcOpticalFlowPyrLK(first, last, points, None)
    kept = found[:, 0] == 1
    plane, _ = cv2.findHomography(points[kept], moved[kept], cv2.LMEDS)
    fitted = cv2.perspectiveTransform(points[kept], plane)
    distance = np.linalg.norm((fitted - moved[kept])[:, 0], axis=1)
    residuals[name] = np.quantile(distance, 0.75)
  assert residuals['live'] > 3 * residuals['print'], residuals
