"""The loss of JPEG against libjpeg, by Pillow."""

import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from nasfas_jax.ops import jpeg


def make_picture(height, width, seed=0):
  """Smooth colour with some noise."""
  rng = np.random.default_rng(seed)
  small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
  smooth = np.asarray(small.resize((width, height), Image.BICUBIC), np.float64)
  noisy = smooth + rng.normal(0, 6, smooth.shape)
  return np.clip(np.round(noisy), 0, 255).astype(np.uint8)


@pytest.mark.parametrize('quality', [15, 50, 80])
def test_pictures_are_those_of_libjpeg_but_for_rounding(quality):
  picture = make_picture(24, 36)
  file = io.BytesIO()
  Image.fromarray(picture).save(file, 'JPEG', quality=quality, subsampling=0)
  expected = np.asarray(Image.open(file), np.float64)
  found = jpeg.compress(
    jnp.asarray(picture[None], jnp.float32), jnp.float32(quality)
  )[0]
  found = np.clip(np.round(found), 0, 255)
  lost = np.abs(expected - picture).mean()
  # The codec rounds colours and pixels on the way, and some coefficients then
  # fall on another step.
  assert np.abs(found - expected).mean() < 0.25 * lost
  assert lost > 1


@pytest.mark.parametrize('quality', [1, 30, 50, 75, 99, 100])
def test_the_steps_are_those_that_a_file_holds(quality):
  file = io.BytesIO()
  Image.fromarray(make_picture(8, 8)).save(file, 'JPEG', quality=quality)
  tables = Image.open(file).quantization
  found = np.asarray(jpeg.quantisation(jnp.float32(quality)))
  for channel, table in enumerate((tables[0], tables[1], tables[1])):
    assert sorted(found[channel].ravel()) == sorted(table)
    assert found[channel].ravel()[0] == table[0]
