"""The face ellipse of an exported program, against that of the evaluation."""

import jax
import jax.numpy as jnp
import numpy as np

from nasfas_jax.data import transforms
from nasfas_jax.exporting import clip_checks, signature
from nasfas_jax.preprocessing import crop


def test_the_ellipse_of_a_size_is_that_of_a_box():
  generator = np.random.default_rng(0)
  boxes = np.zeros((64, 4), np.float32)
  boxes[:, :2] = generator.uniform(-20, 40, (64, 2))
  boxes[:, 2:] = boxes[:, :2] + generator.uniform(3, 90, (64, 2))
  sizes = boxes[:, 2:] - boxes[:, :2]
  # Thin boxes: at least the nearest cells are inside.
  boxes[0] = (0, 0, 0.5, 90)
  sizes[0] = (0.5, 90)
  for scale, side in ((1.28, 16), (1.6, 5)):
    found = jax.jit(signature.face_mask, static_argnums=(1, 2))(
      sizes, scale, side
    )
    expected = [
      transforms.face_ellipse(box, transforms.square_around(box, scale), side)
      for box in boxes
    ]
    np.testing.assert_array_equal(found, np.stack(expected))
    assert expected[0].sum() >= 1


def test_boxes_of_whole_pixels_put_cells_on_the_border_of_the_ellipse():
  generator = np.random.default_rng(1)
  corners = generator.integers(0, 60, (800, 2))
  boxes = np.concatenate(
    [corners, corners + generator.integers(20, 160, (800, 2))], axis=1
  )
  sizes = (boxes[:, 2:] - boxes[:, :2]).astype(np.float32)
  on_border = 0
  for scale, side in ((1.3, 32), (1.28, 32), (1.28, 8)):
    found = jax.jit(signature.face_mask, static_argnums=(1, 2))(
      sizes, scale, side
    )
    squares = np.array([transforms.square_around(box, scale) for box in boxes])
    expected = [
      transforms.face_ellipse(box, square, side)
      for box, square in zip(boxes, squares, strict=True)
    ]
    np.testing.assert_array_equal(found, np.stack(expected))
    # Training makes its own on the device.
    of_device = jax.jit(
      jax.vmap(
        lambda box, square, side=side: transforms.face_ellipse(
          box, square, side, xp=jnp
        )
      )
    )
    np.testing.assert_array_equal(
      of_device(boxes.astype(np.float32), squares.astype(np.float32)), found
    )
    units = np.abs(signature.ellipse_places(scale, side))
    aspect = np.max(sizes, axis=1, keepdims=True) / sizes
    distance = (
      np.square(aspect[:, 1:, None] * units[:, None])
      + np.square(aspect[:, :1, None] * units)
    )  # fmt: skip
    on_border += int((np.abs(distance - 1) < 1e-6).any(axis=(1, 2)).sum())
  assert on_border > 10


def test_the_size_of_a_stretched_face_is_that_in_the_crop():
  """A tall face is as wide as high there."""
  box = np.array([300.0, 300.0, 400.0, 450.0])
  view = crop.wide_view(box, 1.3, 'stretch', 1000, 1000)
  inner = crop.box_in_crop(box, view, 256)
  masks = jax.jit(signature.face_mask, static_argnums=(1, 2))(
    np.stack([inner[2:] - inner[:2], box[2:] - box[:2]]).astype(np.float32),
    1.28,
    16,
  )
  expected = transforms.face_ellipse(
    inner, transforms.square_around(inner, 1.28), 16
  )
  np.testing.assert_array_equal(masks[0], expected)
  # The face in the frame would give another score.
  assert masks[1].sum() < 0.8 * masks[0].sum()


def test_an_unknown_face_has_an_empty_mask():
  sizes = np.array([[0, 0], [0, 4], [-1, 5], [2, 2]], np.float32)
  found = jax.jit(signature.face_mask, static_argnums=(1, 2))(sizes, 1.28, 16)
  assert np.asarray(found).sum(axis=(1, 2)).tolist()[:3] == [0, 0, 0]
  assert found[3].sum() > 0


def test_generated_clips_move_and_one_stands_still():
  clips = clip_checks.generated(
    4, num_frames=3, image_size=20, face_scale=1.28, map_size=6
  )
  assert clips.frames.shape == (4, 3, 20, 20, 3)
  assert clips.frames.dtype == np.uint8
  moved = [np.ptp(clip.astype(int), axis=0).max() > 0 for clip in clips.frames]
  assert moved == [True, True, True, False]
  again = clip_checks.generated(
    4, num_frames=3, image_size=20, face_scale=1.28, map_size=6
  )
  np.testing.assert_array_equal(clips.frames, again.frames)


def test_a_difference_is_the_largest_of_scores_and_maps():
  clips = clip_checks.Clips(*(np.zeros(2),) * 3)
  scores, maps = np.zeros(2, np.float32), np.zeros((2, 3, 3), np.float32)

  def program(score=0.0, map_value=0.0, shape=(2, 3, 3)):
    return lambda *_: (scores + score, np.full(shape, map_value))

  for given, worst in (
    (program(), 0.0),
    (program(score=0.5), 0.5),
    (program(map_value=-2.0), 2.0),
    (program(map_value=np.nan), np.inf),
    (program(shape=(2, 3, 4)), np.inf),
  ):
    assert clip_checks.difference(given, clips, scores, maps) == worst
