"""The simulator: what is rendered is what it says it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasfas_datasets.synthetic_fas import camera, plan, render

PRINTS = ('print', 'print_cut')


def make_clip(index, kind, variant=0, domain=0, subject=3):
  return plan.Clip(
    index=index,
    split='test',
    subject=subject,
    domain=domain,
    kind=plan.KINDS.index(kind),
    variant=variant,
    take=0,
  )


CLIPS = [
  make_clip(0, 'live'),
  make_clip(1, 'print'),
  make_clip(2, 'print', variant=1, domain=1),
  make_clip(3, 'print_cut', domain=2),
  make_clip(4, 'replay', domain=3),
  make_clip(5, 'mask_rigid', domain=2),
  make_clip(6, 'mask_paper', domain=3),
  make_clip(7, 'live', domain=1, subject=4),
]


@pytest.fixture(scope='module')
def drawn():
  """The drawn clips as NumPy arrays, one pytree a clip."""
  clips = dict(render.sample_batch(5, CLIPS))
  clips.pop('noise_key')
  clips = jax.device_get(clips)
  return [jax.tree.map(lambda a, i=i: a[i], clips) for i in range(len(CLIPS))]


@pytest.fixture(scope='module')
def rendered():
  """(clip, frames, depth, face_box) of CLIPS."""
  return list(render.render(CLIPS, seed=5))


@pytest.fixture(scope='module')
def surfaces():
  """What the pixels of all frames see, 80 x 80; arrays [N, F, ...]."""
  clips = render.sample_batch(5, CLIPS)
  return jax.device_get(render._programs()['see'](clips))


def test_same_seed_gives_the_same_bits(rendered):
  again = list(render.render(CLIPS, seed=5))
  for first, second in zip(rendered, again, strict=True):
    for a, b in zip(first[1:], second[1:], strict=True):
      np.testing.assert_array_equal(a, b)


def test_clip_does_not_depend_on_its_batch(rendered):
  for clip, frames, depth, box in render.render(CLIPS[4:1:-1], seed=5):
    _, frames_, depth_, box_ = rendered[clip.index]
    np.testing.assert_array_equal(frames, frames_)
    np.testing.assert_array_equal(depth, depth_)
    np.testing.assert_array_equal(box, box_)


def test_another_seed_gives_other_clips(rendered):
  _, frames, _, _ = next(render.render(CLIPS[:1], seed=6))
  assert np.mean(frames != rendered[0][1]) > 0.5


def test_shapes_and_boxes(rendered):
  assert len(rendered) == len(CLIPS)
  for _, frames, depth, box in rendered:
    assert frames.shape == (8, 80, 80, 3) and frames.dtype == np.uint8
    assert depth.shape == (8, 32, 32) and depth.dtype == np.uint8
    np.testing.assert_array_equal(box, np.round(box))
    assert box[2] - box[0] == box[3] - box[1] == camera.FACE_PIXELS
    # A crop of 64 pixels about the box stays inside.
    assert np.all(box[:2] >= 7) and np.all(box[2:] <= 73)
    assert 15 < frames.mean() < 240 and frames.std() > 8


def test_box_is_around_the_face(rendered):
  for _, _, depth, box in rendered:
    rows, columns = np.nonzero(depth.max(0))
    ends = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    middle = (np.array(ends[:2]) + ends[2:]) / 2 * (80 / 32)
    np.testing.assert_allclose(middle, (box[:2] + box[2:]) / 2, atol=6.0)
    height = (rows.max() + 1 - rows.min()) * 80 / 32
    assert 0.75 < height / camera.FACE_PIXELS < 1.25


# --- Depth against an independent ray marcher ---------------------------------


def reference_bump(person, mouth, gain, x, y):
  """The relief at one point, written out bump by bump."""
  jaw = 0.10 * mouth
  eye, lip_y = person['eye_distance'], person['mouth_y']
  bumps = [
    (person['nose_height'], [0.0], 0.24, person['nose_width'],
     person['nose_length'], 0.08),
    (0.07, [0.11], 0.27, 0.06, 0.07, 0.05),
    (person['brow_height'], [0.28], -0.28, 0.20, 0.08, 0.07),
    (-person['socket_depth'], [eye], -0.12, 0.16, 0.10, 0.12),
    (0.05, [eye], -0.12, 0.09, 0.06, 0.06),
    (person['cheek_height'], [0.42], 0.20, 0.20, 0.15, 0.25),
    (person['lip_height'], [0.0], lip_y - 0.02, 0.22, 0.06, 0.03),
    (person['lip_height'], [0.0], lip_y + 0.05 + jaw, 0.18, 0.03, 0.06),
    (person['chin_height'], [0.0], 0.86 + jaw, 0.20, 0.12, 0.14),
  ]  # fmt: skip
  total = 0.0
  for height, (centre,), cy, wx, up, down in bumps:
    wy = up if y < cy else down
    # The side of the face on which the point is: the other does not reach it.
    dx = (abs(x) - centre) if centre else x
    total += height * gain * np.exp(-((dx / wx) ** 2) - ((y - cy) / wy) ** 2)
  return total


def reference_ray(person, turn, mouth, gain, u, v):
  """Camera depth and head point where a ray first enters the head, or None."""
  a, b, c = (
    person[name] for name in ('half_width', 'half_height', 'half_depth')
  )

  def outside(depth):
    x, y, z = turn.T @ np.array([u, v, depth])
    front = min(max(4.0 * z, 0.0), 1.0)
    bump = front * reference_bump(person, mouth, gain, x, y)
    return (x / a) ** 2 + ((y + 0.15) / b) ** 2 + ((z - bump) / c) ** 2 - 1.0

  depths = np.arange(1.5, -0.6, -0.02)
  for far, near in zip(depths[1:], depths[:-1], strict=True):
    if outside(far) <= 0.0:
      for _ in range(20):  # Bisection.
        middle = (far + near) / 2
        far, near = (middle, near) if outside(middle) <= 0 else (far, middle)
      return far, turn.T @ np.array([u, v, far])
  return None


def reference_euler(yaw, pitch, roll):
  cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
  cr, sr = np.cos(roll), np.sin(roll)
  turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
  nod = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
  tilt = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
  return tilt @ nod @ turn


@pytest.mark.parametrize('number', [0, 5, 6])
def test_depth_agrees_with_a_ray_marcher(drawn, rendered, number):
  """Live, rigid and paper mask: 3D depth, > 0 exactly in the face region."""
  clip, k = drawn[number], 2
  frame = {name: value[k] for name, value in clip['motion'].items()}
  place, person = clip['place'], clip['identity']
  turn = reference_euler(frame['yaw'], frame['pitch'], frame['roll'])
  gain = 0.35 if CLIPS[number].attack_type == 'mask_paper' else 1.0
  size, scale = 32, 27.0 * place['zoom']
  depth = np.full((size, size), np.nan)
  oval = np.full((size, size), np.inf)
  for row in range(size):
    for column in range(size):
      x = (column + 0.5) * 2.5 - 40 - round(float(place['box_x']))
      y = (row + 0.5) * 2.5 - 40 - round(float(place['box_y']))
      u = (x - place['error_x'] - frame['shake_x']) / scale
      v = (y - place['error_y'] - frame['shake_y']) / scale
      u = (u - frame['head_x']) / (1 + frame['head_zoom'])
      v = (v - frame['head_y']) / (1 + frame['head_zoom']) + 0.10
      hit = reference_ray(person, turn, frame['mouth'], gain, u, v)
      if hit is not None:
        depth[row, column] = hit[0]
        oval[row, column] = (hit[1][0] / (0.93 * person['half_width'])) ** 2
        oval[row, column] += ((hit[1][1] - 0.10) / 0.90) ** 2
  inside = oval < 1.0
  got = rendered[number][2][k]
  # The pixels on the border of the region may fall on either side of it.
  assert np.sum((got > 0) != inside) <= 4
  assert not np.any(got[np.isnan(depth)])
  assert np.sum(inside) > 100
  both = inside & (got > 0)
  nearest = np.max(depth[both])
  expected = 1 + 254 * np.clip(1 - (nearest - depth[both]) / 1.1, 0, 1)
  error = np.abs(got[both] - expected)
  # 2.3 levels are 0.01 head units. Beside a turned nose a ray may touch twice.
  assert np.median(error) < 1.5
  assert np.percentile(error, 95) < 5
  assert got.max() == 255
  assert got[both].min() < 200  # It is not flat.


def test_depth_of_pictures_is_that_of_their_plane(drawn, rendered):
  for number in (1, 3, 4):
    depth = rendered[number][2][3].astype(float)
    rows, columns = np.nonzero(depth)
    design = np.stack([rows, columns, np.ones_like(rows)], axis=1)
    values = depth[rows, columns]
    fit = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    assert np.max(np.abs(values - fit)) < 1.5
    assert depth.max() == 255


def test_depth_is_positive_exactly_in_the_face_region(rendered, surfaces):
  """Against the region as seen at the full resolution of the frames."""
  for number, (_, _, depth, _) in enumerate(rendered):
    face = surfaces['face'][number]
    # Pixel (16, 16) of 32 spans 2.5 pixels of 80.
    for k in (0, 7):
      share = np.mean(face[k])
      assert abs(np.mean(depth[k] > 0) - share) < 0.02
      assert depth[k].max() == 255


# --- Motion -------------------------------------------------------------------


def affine_residual(clip, surfaces, number, later):
  """Pixels by which the motion of the face from frame 0 is not affine."""
  face = surfaces['face'][number, 0]
  rows, columns = np.nonzero(face)
  motion = clip['motion']

  def at(name, k):
    return surfaces[name][number, k][rows, columns].astype(np.float64)

  turns = [
    reference_euler(motion['yaw'][k], motion['pitch'][k], motion['roll'][k])
    for k in (0, later)
  ]
  seen = np.stack([at('u', 0), at('v', 0), at('depth', 0)])
  moved = turns[1] @ turns[0].T @ seen
  # Where frame `later` sees (u, v): its map from pixels to (u, v), inverted.
  every = np.mgrid[0:80, 0:80].reshape(2, -1)
  design = np.concatenate([every, np.ones((1, every.shape[1]))]).T
  target = np.stack([
    surfaces[name][number, later].ravel() for name in ('u', 'v')
  ], axis=1).astype(np.float64)  # fmt: skip
  solution, *_ = np.linalg.lstsq(design, target, rcond=None)
  assert np.max(np.abs(design @ solution - target)) < 1e-3
  pixels = np.linalg.solve(solution[:2].T, moved[:2] - solution[2][:, None])
  before = np.stack([rows, columns, np.ones_like(rows)], axis=1)
  fit, *_ = np.linalg.lstsq(before, pixels.T, rcond=None)
  return np.sqrt(np.mean((before @ fit - pixels.T) ** 2))


def most_turned(clip):
  yaw = clip['motion']['yaw']
  return int(np.argmax(np.abs(yaw - yaw[0])))


def test_prints_have_no_parallax_and_heads_have(drawn, surfaces):
  for number in (1, 3):
    for later in (2, 5, 7):
      assert affine_residual(drawn[number], surfaces, number, later) < 0.02
  for number in (0, 5, 7):
    later = most_turned(drawn[number])
    assert affine_residual(drawn[number], surfaces, number, later) > 0.2


def test_pictures_move_as_planes(surfaces):
  """Flat carriers: pixels to picture coordinates is an affine map."""
  every = np.mgrid[0:80, 0:80].reshape(2, -1)
  design = np.concatenate([every, np.ones((1, every.shape[1]))]).T
  for number, bent in ((1, False), (2, True), (4, False)):
    for k in (0, 4):
      target = surfaces['u'][number, k].ravel().astype(np.float64)
      fit = design @ np.linalg.lstsq(design, target, rcond=None)[0]
      flat = np.max(np.abs(fit - target)) < 1e-3
      assert flat != bent


def test_who_blinks(drawn):
  for clip, planned in zip(drawn, CLIPS, strict=True):
    kind, motion = planned.attack_type, clip['motion']
    blinks = motion['openness'].min() < 0.2
    assert blinks == (kind in ('live', 'replay'))
    assert motion['openness'].max() > 0.7
    behind = motion['attacker_openness'].min() < 0.2
    assert behind == (kind == 'print_cut')
    if kind.startswith('mask'):
      assert not np.any(motion['mouth'])
    if kind in PRINTS:
      for name in ('yaw', 'pitch', 'roll', 'mouth', 'gaze_x'):
        assert np.ptp(motion[name]) == 0
    else:
      assert np.ptp(motion['yaw']) > 0.02


def test_blink_is_seen_at_the_eyes_only(drawn):
  """All motion but the lids is stopped: the light changes in the eyes."""
  clips = dict(render.sample_batch(5, CLIPS))
  motion = {
    name: value if name == 'openness' else jnp.broadcast_to(
      value[:, :1], value.shape
    )
    for name, value in clips['motion'].items()
  }  # fmt: skip
  clips['motion'] = motion
  run = render._programs()
  seen = run['see'](clips)
  images = {}
  for name in ('room', 'body', 'skin', 'head'):
    images[name] = run[name](clips, seen, images)
  light, seen = np.asarray(images['head']), jax.device_get(seen)
  for number in (0, 7):
    openness = drawn[number]['motion']['openness']
    change = np.abs(
      light[number, np.argmin(openness)] - light[number, np.argmax(openness)]
    ).max(0)
    assert change.max() > 0.05
    rows, columns = np.nonzero(change > 0.01)
    k = np.argmax(openness)
    x = seen['x'][number, k][rows, columns]
    y = seen['y'][number, k][rows, columns]
    assert np.all(np.abs(np.abs(x) - 0.30) < 0.25)
    assert np.all(np.abs(y + 0.12) < 0.22)
  assert np.ptp(light[5], axis=0).max() < 1e-5  # A mask does not blink.
