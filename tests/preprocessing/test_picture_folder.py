import cv2
import numpy as np
import pytest

from nasfas_jax.preprocessing import picture_folder, video


def write(path, level):
  assert cv2.imwrite(str(path), np.full((4, 6, 3), level, np.uint8))


def test_pictures_are_in_the_order_of_their_numbers(tmp_path):
  for number in (2, 10, 1, 30):
    write(tmp_path / f'{number}.png', number)
  (tmp_path / '.hidden.png').write_bytes(b'x')
  (tmp_path / 'notes.txt').write_text('x')
  names = [path.name for path in picture_folder.pictures(tmp_path)]
  assert names == ['1.png', '2.png', '10.png', '30.png']
  clip = picture_folder.sample_frames(tmp_path, 2)
  assert clip.frame_index.tolist() == [1, 3]
  assert [frame[0, 0, 0] for frame in clip.frames] == [2, 30]
  clip = picture_folder.sample_frames(tmp_path, 8, lambda f: f.mean(), limit=3)
  assert clip.frames == [1, 2, 10]


def test_a_folder_without_pictures_and_a_bad_picture_are_errors(tmp_path):
  with pytest.raises(video.VideoError, match='there is no picture'):
    picture_folder.sample_frames(tmp_path, 8)
  (tmp_path / '0001.jpg').write_bytes(b'not a picture')
  with pytest.raises(video.VideoError, match='0001.jpg'):
    picture_folder.sample_frames(tmp_path, 8)
