"""Version 2.0.0 of synthetic_fas: each published model against a reference."""

import cv2
import numpy as np
import pytest

from nasfas_datasets.synthetic_fas.v2 import (
  backdrop,
  draws,
  head,
  light,
  paper,
  person,
  screen,
  sensor,
  skin,
  tables,
  view,
)

CAMERA = sensor.Camera(
  blur=0.5, iso=400, demosaic='malvar', sharpen=0.0, red=1.2,
  blue=0.85, exposure=0.5, dark=0.3, light=0.6, spread=1.15, quality=90,
  block=(0, 0),
)  # fmt: skip


def grey_ramp(size=16):
  """A picture that is linear in x and y, the same in all colours."""
  x, y = np.meshgrid(np.arange(size), np.arange(size))
  plane = (0.1 + 0.02 * x + 0.01 * y).astype(np.float32)
  return np.dstack([plane] * 3)


# --- Light --------------------------------------------------------------------


def test_planck_is_that_of_scipys_constants():
  from scipy import constants as c

  def radiance(length, kelvin):
    energy = c.h * c.c / (length * c.k * kelvin)
    return 2 * c.h * c.c**2 / length**5 / (np.exp(energy) - 1)

  lengths = (610e-9, 545e-9, 465e-9)
  got = light.planck(2856)
  want = [radiance(w, 2856) / radiance(w, 6500) for w in lengths]
  np.testing.assert_allclose(got, np.array(want) / want[1], rtol=1e-5)
  assert got[0] > 1.3 > got[2]  # An incandescent lamp is red.


@pytest.mark.parametrize('roughness', [0.2, 0.5, 0.9])
def test_ggx_integrates_to_one(roughness):
  angle = np.linspace(0, np.pi / 2, 200001)
  value = light.ggx(np.cos(angle), roughness)
  area = np.trapezoid(value * np.cos(angle) * np.sin(angle) * 2 * np.pi, angle)
  assert area == pytest.approx(1, abs=1e-3)


def test_highlight_is_brightest_at_the_half_vector():
  lamp = np.float32([0.6, -0.48, 0.64])
  half = (lamp + [0, 0, 1]) / np.linalg.norm(lamp + [0, 0, 1])
  away = np.float32([0.6, 0.48, 0.64])
  normal = np.stack([half, lamp, away], axis=-1)[:, None].astype(np.float32)
  found = light.highlight(normal, lamp, 0.3, 0.028)[0]
  assert found[0] > 3 * found[1] > found[2] >= 0


def test_light_spreads_in_skin_as_a_sum_of_gaussians():
  size, density = 65, 400.0
  point = np.zeros((size, size, 3), np.float32)
  point[32, 32] = 1
  seen = light.scatter(point, density)
  # No light is lost, and red spreads farthest.
  np.testing.assert_allclose(seen.sum((0, 1)), 1, atol=2e-3)
  x = np.arange(size) - 32
  spread = (seen.sum(0) * (x**2)[:, None]).sum(0)
  assert spread[0] > 5 * spread[1] > 0
  # The variance of a sum of Gaussians is the weighted sum of theirs (mm^2).
  scale = (density / 95.0) ** 2
  want = sum(
    variance * weights[0] * scale
    for variance, weights in light.SKIN_PROFILE
    if np.sqrt(variance * scale) >= 0.3
  )
  assert spread[0] == pytest.approx(want, rel=0.06)
  for channel in range(3):
    total = sum(weights[channel] for _, weights in light.SKIN_PROFILE)
    assert total == pytest.approx(1, abs=1e-9)


def test_skin_darkens_with_its_pigments_as_beer_and_lambert_say():
  bare, once, twice = (skin.colour(m, 0.0) for m in (0.0, 0.4, 0.8))
  np.testing.assert_allclose(once**2, bare * twice, rtol=1e-5)
  ratio = np.log(bare / once) / np.log(bare / once)[1]
  np.testing.assert_allclose(
    ratio, [(610 / 545) ** -3.33, 1, (465 / 545) ** -3.33], rtol=1e-4
  )
  blood = np.log(skin.colour(0.0, 0.0) / skin.colour(0.0, 1.0))
  assert blood[0] < 0.1 * blood[1] and blood[2] < blood[1]


# --- Camera -------------------------------------------------------------------


def literal_malvar(raw):
  """Malvar, He and Cutler's formulas, pixel by pixel (interior only)."""
  out = np.zeros((*raw.shape, 3))
  for i in range(2, raw.shape[0] - 2):
    for j in range(2, raw.shape[1] - 2):

      def at(di, dj, i=i, j=j):
        return float(raw[i + di, j + dj])

      here = at(0, 0)
      near = at(-1, 0) + at(1, 0) + at(0, -1) + at(0, 1)
      far = at(-2, 0) + at(2, 0) + at(0, -2) + at(0, 2)
      corner = at(-1, -1) + at(-1, 1) + at(1, -1) + at(1, 1)
      green = (4 * here + 2 * near - far) / 8
      across = (
        5 * here + 4 * (at(0, -1) + at(0, 1)) - corner
        - at(0, -2) - at(0, 2) + 0.5 * (at(-2, 0) + at(2, 0))
      ) / 8  # fmt: skip
      down = (
        5 * here + 4 * (at(-1, 0) + at(1, 0)) - corner
        - at(-2, 0) - at(2, 0) + 0.5 * (at(0, -2) + at(0, 2))
      ) / 8  # fmt: skip
      other = (6 * here + 2 * corner - 1.5 * far) / 8
      if (i % 2, j % 2) == (0, 0):
        out[i, j] = here, green, other
      elif (i % 2, j % 2) == (1, 1):
        out[i, j] = other, green, here
      elif i % 2 == 0:
        out[i, j] = across, here, down
      else:
        out[i, j] = down, here, across
  return out


def test_demosaicking_is_malvars():
  rng = np.random.default_rng(0)
  raw = rng.random((12, 12), np.float32)
  got = sensor.demosaic(raw, 'malvar')[2:-2, 2:-2]
  np.testing.assert_allclose(got, literal_malvar(raw)[2:-2, 2:-2], atol=1e-5)


def test_bilinear_demosaicking_is_opencvs():
  raw = np.random.default_rng(1).integers(0, 255, (12, 14)).astype(np.uint16)
  # OpenCV names the pattern by the second row's middle: this is R G / G B.
  want = cv2.cvtColor(raw, cv2.COLOR_BayerRGGB2RGB)[2:-2, 2:-2]
  got = sensor.demosaic(raw.astype(np.float32), 'bilinear')[2:-2, 2:-2]
  np.testing.assert_allclose(got, want, atol=0.51)


@pytest.mark.parametrize('method', sorted(sensor.DEMOSAIC))
def test_demosaicking_restores_a_grey_ramp(method):
  image = grey_ramp()
  got = sensor.demosaic(sensor.bayer(image), method)
  np.testing.assert_allclose(got[3:-3, 3:-3], image[3:-3, 3:-3], atol=1e-5)


@pytest.mark.parametrize('iso', [100, 1600])
def test_noise_has_the_variance_of_photons_and_of_reading(iso):
  level = 0.3
  raw = np.full((300, 300), level, np.float32)
  got = sensor.add_noise(raw, iso, np.random.default_rng(0))
  electrons = level * 6000 * 100 / iso
  want = (np.sqrt(electrons + 3.0**2) / electrons) * level
  assert got.std() == pytest.approx(want, rel=0.02)
  assert got.mean() == pytest.approx(level, abs=4 * want / 300)


def test_lens_and_pixel_leave_what_their_transfer_function_says():
  size, ratio, sigma = 64, 8, 0.6
  x = (np.arange(size * ratio) + 0.5) / ratio
  for frequency in (0.1, 0.25, 0.4):
    wave = np.cos(2 * np.pi * frequency * x).astype(np.float32)
    image = np.repeat(wave[None, :, None], size * ratio, axis=0)
    seen = sensor.lens(image, size, sigma)[size // 2, 8:-8]
    pixel = (np.arange(size) + 0.5)[8:-8]
    want = np.cos(2 * np.pi * frequency * pixel)
    got = float(seen @ want / (want @ want))
    assert got == pytest.approx(
      float(sensor.transfer(frequency, sigma)), abs=0.01
    )


def test_srgb_is_the_standards():
  for linear, value in ((0.0, 0.0), (0.0031308, 0.04045), (0.214041, 0.5)):
    assert float(sensor.srgb(np.float32(linear))) == pytest.approx(
      value, abs=2e-4
    )
  values = np.linspace(0, 1, 11, dtype=np.float32)
  np.testing.assert_allclose(
    sensor.from_srgb(sensor.srgb(values)), values, atol=1e-5
  )
  # The table that pictures go through is the curve.
  steps = np.linspace(0, 1, 4097, dtype=np.float32)
  np.testing.assert_allclose(
    sensor.tone(values, sensor.srgb(steps)), sensor.srgb(values), atol=4e-3
  )


@pytest.mark.parametrize('contrast', [0.7, 1.0])
def test_meter_brings_colour_and_tone_of_the_face_to_their_goals(contrast):
  """Whatever the light, its colour and the contrast of the subject."""
  rng = np.random.default_rng(0)
  grey = 0.3 + 0.25 * contrast * rng.uniform(-1, 1, (48, 48, 1))
  colour = 1 + 0.1 * rng.uniform(-1, 1, (48, 48, 3))
  image = np.float32(grey * colour * [1.6, 1.0, 0.5])
  image[:8] = 4.0  # A window, not metered.
  area = (slice(8, 48), slice(0, 48))
  levels = sensor.meter(image, CAMERA, area)
  matrix = sensor.mix_colours(levels.saturation) * levels.gain
  seen = sensor.tone(image[area] @ np.float32(matrix).T, levels.table)
  mean = seen.mean((0, 1))
  assert mean[0] / mean[1] == pytest.approx(1.2, rel=0.04)
  assert mean[2] / mean[1] == pytest.approx(0.85, rel=0.04)
  low, middle, high = np.percentile(seen @ sensor.LUMA, (5, 50, 95))
  assert middle == pytest.approx(0.5, abs=0.03)
  assert low == pytest.approx(0.15, abs=0.04)
  assert high == pytest.approx(0.8, abs=0.04)
  found = 1 - np.mean(seen.min(-1) / seen.max(-1))
  wanted = 1.15 * (1 - 0.85 / 1.2)
  assert found == pytest.approx(wanted, rel=0.15)


def test_meter_does_not_steepen_the_tone_curve_without_bound():
  """A flat wall stays flat: its noise would be shown."""
  image = np.float32(0.3 + 1e-3 * np.random.default_rng(0).random((32, 32, 3)))
  levels = sensor.meter(image, CAMERA, (slice(None), slice(None)))
  shown = sensor.srgb(np.linspace(0, 1, 4097, dtype=np.float32))
  slope = np.diff(levels.table) / np.maximum(np.diff(shown), 1e-6)
  assert slope.max() < 4.2


def test_saturation_keeps_luma_and_scales_colour():
  colour = np.float32([0.6, 0.3, 0.2])
  for amount in (0.0, 0.5, 1.0, 1.7):
    mixed = sensor.mix_colours(amount) @ colour
    luma = sensor.LUMA @ colour
    assert sensor.LUMA @ mixed == pytest.approx(luma, abs=1e-5)
    np.testing.assert_allclose(
      mixed - luma, amount * (colour - luma), atol=1e-5
    )


def test_jpeg_is_libjpegs_and_its_grid_starts_where_it_says():
  rng = np.random.default_rng(2)
  frame = cv2.GaussianBlur(
    rng.integers(0, 255, (48, 48, 3)).astype(np.uint8), (0, 0), 1.2
  )
  camera = CAMERA._replace(quality=30, block=(5, 3))
  (got,) = sensor.compress([frame], camera)
  assert got.shape == frame.shape
  # Pillow's libjpeg, on the part that starts at a block of the grid.
  import io

  from PIL import Image

  padded = cv2.copyMakeBorder(frame, 3, 12, 5, 10, cv2.BORDER_REFLECT_101)
  data = io.BytesIO()
  Image.fromarray(padded).save(data, 'JPEG', quality=30, subsampling=2)
  want = np.asarray(Image.open(data))[3:51, 5:53].astype(int)
  assert np.abs(got.astype(int) - want).mean() < 1.0
  assert np.abs(frame.astype(int) - want).mean() > 3.0


# --- Paper --------------------------------------------------------------------


def test_one_ink_is_murray_and_davies_and_yule_and_nielsen():
  white = np.float32([0.9, 0.9, 0.9])
  for order in (1, 2):
    for area in (0.0, 0.3, 1.0):
      areas = np.zeros((1, 1, 3), np.float32)
      areas[..., 0] = area
      got = paper.reflectance(areas, order, 1.0, white)[0, 0]
      solid = paper.INKS[0]
      want = 0.9 * (area * solid ** (1 / order) + 1 - area) ** order
      np.testing.assert_allclose(got, want, rtol=1e-5)


def test_overprints_are_neugebauers_eight():
  import itertools

  areas = np.float32([[[0.2, 0.5, 0.8]]])
  got = paper.reflectance(areas, 2, 1.0, np.float32([1, 1, 1]))[0, 0]
  total = np.zeros(3)
  for inks in itertools.product((0, 1), repeat=3):
    weight, colour = 1.0, np.ones(3)
    for k, on in enumerate(inks):
      weight *= areas[0, 0, k] if on else 1 - areas[0, 0, k]
      colour = colour * (paper.INKS[k] if on else 1)
    total += weight * np.sqrt(colour)
  np.testing.assert_allclose(got, total**2, rtol=1e-4)


def test_dots_gain_most_in_the_middle():
  grey = np.full((1, 1, 3), 0.25, np.float32)  # Area 1 - sqrt(0.25) = 0.5.
  plain = paper.dot_areas(grey, 1.0, 0.0)
  np.testing.assert_allclose(plain, 0.5, atol=1e-6)
  np.testing.assert_allclose(paper.dot_areas(grey, 1.0, 0.2), 0.7, atol=1e-6)
  for end in (0.0, 1.0):
    flat = np.full((1, 1, 3), end, np.float32)
    np.testing.assert_allclose(
      paper.dot_areas(flat, 1.0, 0.2), 1 - end, atol=1e-6
    )


@pytest.mark.parametrize('area', [0.1, 0.5, 0.8])
def test_halftone_has_the_first_wave_of_square_dots(area):
  n = 400
  x, y = np.meshgrid(np.arange(n) / n, np.arange(n) / n)
  side = np.sqrt(area)
  inside = (np.abs(x - 0.5) < side / 2) & (np.abs(y - 0.5) < side / 2)
  # Of real dots: 2 <f(x, y) cos(2 pi (x - 1/2))>.
  want = 2 * np.mean(inside * np.cos(2 * np.pi * (x - 0.5)))
  place = np.linspace(0, 1, 8, endpoint=False, dtype=np.float32)[None]
  areas = np.full((1, 8, 3), area, np.float32)
  # A quarter period down: only the wave along x is left.
  seen = paper.halftone(areas, place, np.full_like(place, 0.25), 1.0, 0.0, 0.3)[
    0, :, 2
  ]
  got = 2 * np.mean(seen * np.cos(2 * np.pi * place[0]))
  assert got == pytest.approx(0.3 * want, abs=5e-3)
  assert seen.mean() == pytest.approx(area, abs=1e-3)


# --- Screens ------------------------------------------------------------------


def test_a_screen_emits_what_gain_offset_gamma_says():
  drawn = {'black': 0.01, 'gamma': 2.2, 'gamut': 1.0, 'kelvin': 6500}
  picture = np.float32([[[0, 0, 0], [0.5, 0.5, 0.5], [1, 1, 1]]])
  got = screen.emitted(picture, drawn)[0, :, 1]
  np.testing.assert_allclose(got, [0.01, 0.01 + 0.99 * 0.5**2.2, 1], rtol=1e-5)


@pytest.mark.parametrize('layout', ['stripe', 'pentile'])
def test_sub_pixels_have_mean_one_and_beat_with_the_sensor(layout):
  x, y = np.meshgrid(
    np.arange(400, dtype=np.float32), np.arange(40, dtype=np.float32)
  )
  # Red sites lie two pixels apart. Pitch 1.8 pixels: a wave of 2 / 1.8 cycles
  # seen once a site is one of 2 / 1.8 - 1 = 1 / 9, nine sites long: moire.
  seen = screen.sub_pixels(
    layout, x, y, 1 / 1.8, 0.7, lambda f: sensor.transfer(f, 0.4)
  )
  np.testing.assert_allclose(seen.mean((0, 1)), 1, atol=0.03)
  sites = seen[:, :360:2, 1].mean(0) - 1
  spectrum = np.abs(np.fft.rfft(sites))
  assert spectrum.argmax() == 20 and np.ptp(sites) > 0.1
  flat = screen.sub_pixels(layout, x, y, 1 / 1.8, 0.7, lambda f: 0.0)
  np.testing.assert_array_equal(flat, 1)


def test_stripes_are_those_of_a_drawn_grid():
  """The waves of a stripe against the Fourier series of drawn rectangles."""
  place = (np.arange(3000, dtype=np.float32) / 3000)[None]
  seen = screen.sub_pixels(
    'stripe', place, np.zeros_like(place), 1.0, 0.9, lambda f: f < 1.5
  )[0]
  for k in range(3):
    away = (place[0] - k / 3 + 0.5) % 1 - 0.5
    stripe = (np.abs(away) < 0.15) / 0.3
    for wave in (np.cos, np.sin):
      angle = 2 * np.pi * place[0]
      rows = 1 + 2 * np.sinc(0.9)
      got = np.mean(seen[:, k] * wave(angle)) / rows
      assert got == pytest.approx(np.mean(stripe * wave(angle)), abs=2e-3)


def test_banding_is_the_light_of_a_pulsed_lamp():
  refresh, duty, shutter = 120.0, 0.4, 0.0053
  start = np.array([0.0, 0.0011, 0.004, 0.0077])
  got = screen.banding(start, shutter, refresh, duty)
  for begin, value in zip(start, got, strict=True):
    time = begin + (np.arange(200000) + 0.5) / 200000 * shutter
    on = (time * refresh) % 1 < duty
    assert value == pytest.approx(on.mean() / duty, abs=1e-3)
  # A shutter of whole periods sees no bands.
  whole = screen.banding(start, 2 / refresh, refresh, duty)
  np.testing.assert_allclose(whole, 1, atol=1e-6)


# --- Heads --------------------------------------------------------------------


@pytest.fixture(scope='module')
def somebody():
  rng = draws.generator(5, 0)
  who = draws.draw(rng, tables.PERSON)
  return who, person.make_maps(who, rng, 80.0)


def test_slopes_are_the_derivatives_of_the_relief(somebody):
  who, _ = somebody
  x, y = np.meshgrid(np.linspace(-0.7, 0.7, 29), np.linspace(-0.6, 1.0, 31))
  x, y = x + 0.003, y + 0.001  # Not on an edge of a bump.
  step = 1e-4
  height, slope_x, slope_y = person.relief(who, x, y)
  right, down = person.relief(who, x + step, y), person.relief(who, x, y + step)
  np.testing.assert_allclose((right[0] - height) / step, slope_x, atol=0.02)
  np.testing.assert_allclose((down[0] - height) / step, slope_y, atol=0.02)


def test_rays_end_on_the_head(somebody):
  """Each traced point is on the surface, and on its ray."""
  who, maps = somebody
  turn = head.rotation(0.3, -0.1, 0.05)
  np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-6)
  u, v = np.meshgrid(
    np.linspace(-0.55, 0.55, 23, dtype=np.float32),
    np.linspace(-0.6, 0.7, 27, dtype=np.float32),
  )
  hit = head.trace(who, maps, turn, u, v, rounds=8)
  point = np.einsum('kc,kij->cij', turn, np.stack([u, v, hit.depth]))
  np.testing.assert_allclose(point[0], hit.x, atol=1e-4)
  np.testing.assert_allclose(point[1], hit.y, atol=1e-4)
  height = person.relief(who, hit.x.astype(float), hit.y.astype(float))[0]
  height *= np.clip(4 * point[2], 0, 1)
  inside = (
    (hit.x / who['half_width']) ** 2
    + ((hit.y + 0.15) / who['half_height']) ** 2
    + ((point[2] - height) / who['half_depth']) ** 2
  )
  assert np.median(np.abs(inside - 1)) < 0.01
  assert np.percentile(np.abs(inside - 1), 95) < 0.1
  np.testing.assert_allclose(np.sum(hit.normal**2, axis=0), 1, atol=1e-3)
  # Nearer than the sphere behind it: the front, not the back, is met.
  assert np.all(hit.depth > 0)


def test_the_lamp_in_the_eye_is_where_a_sphere_mirrors_it():
  lamp = head.Lamp(np.float32([0.6, -0.48, 0.64]), np.ones(3), np.ones(3))
  x, y, strength = head.glint(lamp, 2.0)
  radius = 7.8 / 95
  normal = np.array([x, y, np.sqrt(radius**2 - x * x - y * y)]) / radius
  view = np.array([0, 0, 1.0])
  mirrored = 2 * (normal @ view) * normal - view
  np.testing.assert_allclose(mirrored, lamp.direction, atol=1e-5)
  assert strength == 2.0


# --- Masks and crops ----------------------------------------------------------


def test_neck_and_ears_of_a_mask_are_those_of_its_wearer(somebody):
  who = {**somebody[0], 'hair': 'bald', 'beard': 'none'}
  dark = {**who, 'melanin': 1.2}
  dress = draws.draw(draws.generator(1, 1), tables.DRESS)
  own, worn = (
    backdrop.draw_body(who, wearer, dress, draws.generator(2, 2), 160, 40.0)
    for wearer in ({**who, 'melanin': 0.1}, dark)
  )
  np.testing.assert_array_equal(own[1], worn[1])
  ratio = worn[0].sum(-1) / np.maximum(own[0].sum(-1), 1e-6)
  # Neck: x = 0, y = 1; clothes: y = 1.8.
  assert ratio[80 + 36, 80] < 0.6
  np.testing.assert_allclose(ratio[80 + 70, 70:90], 1, atol=1e-4)


def test_clothes_reach_the_end_of_wide_crops(somebody):
  who, dress = somebody[0], draws.draw(draws.generator(1, 1), tables.DRESS)
  _, mask = backdrop.draw_body(
    who, who, dress, draws.generator(2, 2), 160, 28.0
  )
  bottom, above = mask[-1], mask[-20]
  assert bottom.sum() >= above.sum() > 60
  assert mask[-1, 80] == 1 and mask[-1, 0] == 0


def test_the_camera_meters_face_and_a_little_more():
  grid = view.make_grid(90, 80, 27.0, (40.0, 42.0))
  rows, columns = view.metered(grid)
  picture = 90 / 80  # Pixels of the sensor along one of the record.
  for part, middle in ((rows, 42), (columns, 40)):
    assert (part.stop - part.start) / picture == pytest.approx(64, abs=1.5)
    found = (part.start + part.stop) / 2 / picture
    assert found == pytest.approx(middle, abs=1)
