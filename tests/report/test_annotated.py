"""The picture of a judged clip."""

import numpy as np
import pytest

from nasfas_jax.preprocessing import video
from nasfas_jax.report import annotated


def drawn(**changes):
  frame = np.full((90, 120, 3), 128, np.uint8)
  arguments = {
    'title': 'spoof',
    'texts': ('ü' * 200, 'one two ' * 40),
    'decision': 'spoof',
    'threshold': 0.5,
    'frame': frame,
    'box': np.array([30.0, 20, 90, 80]),
    'insets': {'map': annotated.colour_map(np.eye(4))},
    'parts': [(0, 9, 0.1), (10, 19, 0.9)],
  }
  return annotated.draw(**{**arguments, **changes})


def has(image, colour):
  return bool(np.all(image == colour, axis=-1).any())


def test_the_box_and_the_points_have_the_colour_of_the_decision():
  image = drawn()
  teal, rust = annotated.COLOURS['live'], annotated.COLOURS['spoof']
  # The box and the lower point are of a spoof, the higher point is live.
  assert has(image, rust) and has(image, teal)
  assert not has(drawn(parts=()), teal)
  assert has(drawn(parts=(), decision='live'), teal)
  undecided = drawn(parts=(), decision=None, title='still')
  assert not has(undecided, teal) and not has(undecided, rust)


def test_every_item_has_a_picture():
  wide = np.zeros((1, 3000, 3), np.uint8)
  for changes in (
    {'frame': None, 'box': None, 'insets': {}, 'parts': ()},
    {'frame': wide, 'box': np.array([0.0, 0, 3000, 1])},
    {'parts': [(0, 0, 0.0), (0, 0, 0.0)], 'threshold': 0.0},
    {'parts': [(0, 9, -2.0), (10, 19, 1e9)], 'threshold': -5.0},
    {'title': '', 'texts': ()},
  ):
    image = drawn(**changes)
    assert image.dtype == np.uint8 and image.ndim == 3
    assert max(image.shape) < 2000


def test_a_video_is_whole_or_not_there(tmp_path, monkeypatch):
  path = tmp_path / 'x.avi'
  pictures = [drawn(now=place)[:-1, :-1] for place in (0, 19)]
  annotated.write_video(path, pictures, 25.0)
  frames = video.read_frames(path, (0, 1))
  height, width = (side // 2 * 2 for side in pictures[0].shape[:2])
  assert frames[1].shape == (height, width, 3)
  # JPEG is lossy, and colours have half the resolution.
  assert np.abs(frames[1] - pictures[1][:height, :width].astype(int)).mean() < 4
  before = path.read_bytes()
  monkeypatch.setattr(annotated.cv2.VideoWriter, 'write', lambda *_: None)
  with pytest.raises(OSError, match=r"0 of 2 pictures written: .*/x.avi'"):
    annotated.write_video(path, pictures, 25.0)
  assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_map_without_numbers_is_drawn():
  image = annotated.colour_map(np.array([[np.nan, np.inf], [-np.inf, 0.5]]))
  assert image.shape == (2, 2, 3)
