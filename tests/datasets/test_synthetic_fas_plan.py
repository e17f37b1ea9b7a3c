"""The plan of the clips, and the camera model."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_datasets.synthetic_fas import camera, plan, scene

# --- The camera ---------------------------------------------------------------


def test_global_statistics_do_not_depend_on_the_scene(key):
  """After exposure the mean, contrast and saturation are the camera's."""
  rng = np.random.default_rng(0)
  settings = jax.jit(camera.sample_camera)(key, jnp.int32(1))
  for spread in (0.05, 0.3):
    light = rng.uniform(0.1, 0.1 + spread, (2, 3, 80, 80)).astype(np.float32)
    image = np.asarray(camera.expose(jnp.asarray(light), settings))
    window = image[:, :, 8:72, 8:72]
    warmth = settings['warmth']
    expected = settings['mean'] + np.array(
      [warmth, settings['green'], -warmth], np.float32
    )
    np.testing.assert_allclose(window.mean((0, 2, 3)), expected, atol=1e-3)
    grey = np.tensordot(np.array(camera.LUMA), window, (0, 1))
    np.testing.assert_allclose(grey.std(), settings['contrast'], rtol=1e-2)


def test_compression_quantises_blocks():
  """A step as wide as the range leaves flat 8 x 8 blocks."""
  settings = {
    'quality': jnp.float32(1e-6),
    'block_x': jnp.float32(3.4),
    'block_y': jnp.float32(5.2),
  }
  rng = np.random.default_rng(1)
  image = rng.uniform(0, 1, (1, 3, 80, 80)).astype(np.float32)
  fine = np.asarray(camera.compress(jnp.asarray(image), settings))
  np.testing.assert_allclose(fine, image, atol=1e-4)
  coarse = camera.compress(
    jnp.asarray(image), {**settings, 'quality': jnp.float32(3.0)}
  )
  block = np.asarray(coarse)[0, 0, 5:13, 3:11]
  assert np.ptp(block) < 1e-4
  assert np.ptp(np.asarray(coarse)[0, 0, 5:13, 0:8]) >= np.ptp(block)


# --- The plan -----------------------------------------------------------------


@pytest.mark.parametrize('name', ['default', 'tiny'])
def test_plan_is_balanced_and_subjects_are_disjoint(name):
  clips = plan.make_plan(plan.SIZES[name])
  assert [clip.index for clip in clips] == list(range(len(clips)))
  assert len({clip.clip_id for clip in clips}) == len(clips)
  splits = collections.defaultdict(set)
  cells = collections.Counter()
  rooms = collections.defaultdict(set)
  for clip in clips:
    splits[clip.subject].add(clip.split)
    rooms[clip.subject].add(clip.domain)
    cells[clip.split, clip.domain, clip.attack_type] += 1
  assert all(len(found) == 1 for found in splits.values())
  assert all(len(found) == 4 for found in rooms.values())
  assert len(cells) == 3 * 4 * 6
  if name == 'default':
    assert len(clips) == 2400
    for (split, _, kind), count in cells.items():
      num_subjects = plan.SIZES[name].subjects[split]
      share = 2.0 if kind == 'live' else 0.8
      assert count == share * num_subjects


def test_both_media_of_an_attack_occur_in_every_domain():
  clips = plan.make_plan(plan.SIZES['default'])
  found = {(clip.domain, clip.attack_type, clip.medium) for clip in clips}
  for domain in range(4):
    for kind, media in plan.VARIANTS.items():
      for medium in media:
        assert (domain, kind, medium) in found


def test_kinds_of_the_plan_are_those_of_the_renderer():
  assert plan.KINDS[scene.PRINT_CUT] == 'print_cut'
  assert plan.KINDS[scene.REPLAY] == 'replay'
  assert plan.KINDS[scene.MASK_PAPER] == 'mask_paper'
