import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_jax import states


def make_input(frames, mode='static', normalization='fixed'):
  return states.network_input(
    jnp.asarray(frames),
    fusion_mode=mode,
    rank_pooling='approximate',
    normalization=normalization,
  )


def clips(seed=0, low=0, high=256):
  rng = np.random.default_rng(seed)
  return rng.integers(low, high, (2, 4, 6, 6, 3), dtype=np.uint8)


def test_fixed_normalization_is_that_of_cdcn():
  frames = clips()
  expected = (frames[:, 2].astype(np.float32) - 127.5) / 128
  np.testing.assert_allclose(make_input(frames), expected, rtol=1e-6)


def test_clip_normalization_by_loops():
  frames = clips(low=40, high=90)
  actual = make_input(frames, normalization='clip')
  for b in range(2):
    x = frames[b] / 128.0
    x = x - x.mean(axis=(0, 1, 2))
    expected = 0.5 * x[2] / np.sqrt((x**2).mean() + 1 / 128**2)
    np.testing.assert_allclose(actual[b], expected, atol=1e-5)


def test_clip_normalization_takes_gain_and_tint_out():
  frames = clips(low=20, high=100)
  tinted = 2 * frames + np.array([10, 30, 50], np.uint8)
  np.testing.assert_allclose(
    make_input(frames, normalization='clip'),
    make_input(tinted, normalization='clip'),
    atol=2e-3,
  )


def test_a_flat_clip_stays_finite():
  flat = np.full((1, 4, 6, 6, 3), 7, np.uint8)
  for mode in ('static', 'dynamic', 'blend', 'concat'):
    x = make_input(flat, mode, 'clip')
    np.testing.assert_array_equal(x, 0)


def test_an_unknown_normalization_names_the_known_ones():
  with pytest.raises(ValueError, match="'none'; allowed: fixed, clip"):
    make_input(clips(), normalization='none')


def test_the_mesh_has_all_devices_and_batches_are_split_over_them():
  mesh = states.make_mesh()
  assert mesh.axis_names == ('task', 'data')
  assert mesh.size == len(jax.devices()) > 1
  batch = {'label': np.arange(2 * mesh.size, dtype=np.int32)}
  out = states.put_batch(batch, mesh)['label']
  assert out.sharding == states.batch_sharding(mesh)
  assert out.addressable_shards[0].data.shape == (2,)
  np.testing.assert_array_equal(out, batch['label'])


@pytest.mark.parametrize('size', [0, 3])
def test_the_devices_must_divide_the_batch(size):
  mesh = states.make_mesh()
  with pytest.raises(ValueError, match=f'batch is {size}; it must be'):
    states.check_batch_size('batch', size, mesh)
