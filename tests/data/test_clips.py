import concurrent.futures
import io
import pathlib
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from nasfas_jax import stored_frames
from nasfas_jax.data import clips, index, protocols


@pytest.fixture(scope='module')
def rows(tiny_data_dir):
  name = 'synthetic_fas/unseen_rooms'
  chosen = protocols.load(name, str(tiny_data_dir), 'tiny')
  return chosen.train[:6]


def count_decodes(monkeypatch):
  """A list that gets the size of every file that is decoded."""
  decoded, decode = [], stored_frames.decode

  def counted(files):
    decoded.extend(map(len, files))
    return decode(files)

  monkeypatch.setattr(stored_frames, 'decode', counted)
  return decoded


def read_all(source):
  return [
    [np.array(picture) for picture in source[i]['frames']]
    for i in range(len(source))
  ]


def test_a_stale_index_is_an_error(rows):
  wrong = [{**rows[0], 'position': rows[1]['position']}]
  with pytest.raises(ValueError, match='the index is stale'):
    clips.ClipSource(wrong)[0]


@pytest.mark.parametrize('damage', ['short', 'flipped', 'gone', 'info'])
def test_a_damaged_shard_is_one_line_that_names_clip_and_folder(
  rows, tmp_path, damage
):
  folder = tmp_path / '1.0.0'
  shutil.copytree(rows[0]['folder'], folder)
  (shard,) = folder.glob('*-train.array_record*')
  content = bytearray(shard.read_bytes())
  if damage == 'short':
    shard.write_bytes(content[: len(content) // 2])
  elif damage == 'flipped':
    for place in range(1000, len(content), 1000):
      content[place] ^= 4
    shard.write_bytes(content)
  elif damage == 'gone':
    shard.unlink()
  else:
    (folder / 'dataset_info.json').write_text('{"name": ')
  source = clips.ClipSource([{**row, 'folder': str(folder)} for row in rows])
  with pytest.raises(ValueError) as error:
    source[0]
  assert str(error.value).startswith(
    f"'{folder}' is damaged: clip '{rows[0]['clip_id']}' of 'train'"
  )
  assert len(str(error.value).splitlines()) == 1


def test_a_frame_that_is_no_picture_is_an_error():
  with pytest.raises(
    ValueError, match="Clip 'x/1': .* 3 bytes is not a picture"
  ):
    clips.Frames([b'abc'], name='x/1')[0]


def test_frames_are_decoded_when_asked_for_and_once(monkeypatch):
  decoded = count_decodes(monkeypatch)
  images = [np.full((32, 32, 3), i, np.uint8) for i in range(3)]
  files = [stored_frames.encode(image) for image in images]
  # For one picture in place of its file.
  room = clips.Room(images[1].nbytes - len(files[1]))
  frames = clips.Frames(files, room)
  assert len(frames) == 3 and not decoded
  for _ in range(2):
    np.testing.assert_array_equal(frames[1], images[1])
  assert len(decoded) == 1
  for _ in range(2):
    np.testing.assert_array_equal(frames[2], images[2])
  assert len(decoded) == 3


def test_frames_that_are_taken_together(monkeypatch):
  decoded = count_decodes(monkeypatch)
  images = [np.full((4, 4, 3), i, np.uint8) for i in range(5)]
  files = [stored_frames.encode(image) for image in images]
  frames = clips.Frames(files, clips.Room(images[0].nbytes - len(files[0])))
  for _ in range(2):
    taken = frames.take(np.array([3, 1, 3]))
    np.testing.assert_array_equal([p[0, 0, 0] for p in taken], [3, 1, 3])
  # The second time one of them is there.
  assert len(decoded) == 3


def test_what_is_handed_out_again_cannot_be_changed():
  file = stored_frames.encode(np.zeros((4, 4, 3), np.uint8))
  picture = clips.Frames([file])[0]
  with pytest.raises(ValueError, match='read-only'):
    picture[0, 0] = 1


def test_clips_are_read_and_decoded_once(monkeypatch, rows):
  plain = read_all(clips.ClipSource(rows))
  decoded = count_decodes(monkeypatch)
  source = clips.ClipSource(rows, 2**30)
  first = read_all(source)
  once = len(decoded)
  # Nothing is read from the shards any more.
  source._sources.clear()
  monkeypatch.setattr(source, '_read', None)
  second = read_all(source)
  assert once == len(decoded) == sum(map(len, plain))
  np.testing.assert_array_equal(first, plain)
  np.testing.assert_array_equal(second, plain)


def test_no_more_is_kept_than_there_is_room(rows):
  everything = clips.ClipSource(rows, 2**30)
  read_all(everything)
  needed = 2**30 - everything._room._left
  pictures = sum(p.nbytes for clip in read_all(everything) for p in clip)
  # Pictures, depth maps, and no file any more.
  assert pictures < needed < 1.5 * pictures
  # For three clips and a part of a fourth.
  size = int(0.6 * needed)
  some = clips.ClipSource(rows, size)
  for _ in range(3):
    np.testing.assert_array_equal(read_all(some), read_all(everything))
  frames = [f for r in some._kept.values() for f in r['frames']._frames]
  pictures = [f.nbytes for f in frames if not isinstance(f, bytes)]
  files = [len(f) for f in frames if isinstance(f, bytes)]
  assert pictures and files
  assert sum(pictures) + sum(files) <= size
  nothing = clips.ClipSource(rows)
  read_all(nothing)
  assert not nothing._kept


def test_threads_take_no_more_than_there_is():
  room = clips.Room(1000)
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    taken = list(pool.map(lambda _: room.take(3), range(2000)))
  assert sum(taken) == 333


def test_another_process_starts_with_nothing_kept(rows):
  source = clips.ClipSource(rows, 2**30)
  expected = read_all(source)
  data = pickle.dumps(source)
  assert len(data) < 10_000
  copy = pickle.loads(data)
  assert not copy._kept and copy._room._left == 2**30
  np.testing.assert_array_equal(read_all(copy), expected)


def test_a_build_of_png_files_is_read():
  """Its bytes were written when records held PNG files; see its description."""
  folder = pathlib.Path(__file__).with_name('png_build')
  rows = index.load_index(folder, 'manifest_fas', 'small')
  assert [row['clip_id'] for row in rows] == ['b', 'a']
  source = clips.ClipSource(rows)
  for i in range(2):
    frames = source[i]['frames']
    files = source._read(i)['frames']
    assert {stored_frames.form(data) for data in files} == {'png'}
    expected = [np.array(Image.open(io.BytesIO(data))) for data in files]
    assert np.shape(expected) == (3, 80, 80, 3)
    np.testing.assert_array_equal(frames.take([0, 1, 2]), expected)


def test_neighbours_are_read_and_decoded_once_by_many_threads(
  monkeypatch, rows
):
  plain = read_all(clips.ClipSource(rows))
  decoded = count_decodes(monkeypatch)
  source, read = clips.ClipSource(rows), []
  kept = source.read
  monkeypatch.setattr(
    source, 'read', lambda *args: read.append(args) or kept(*args)
  )
  near = clips.Neighbours(source, 4)

  def frames(place):
    return [np.array(frame) for frame in near[place // 5]['frames']]

  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    found = list(pool.map(frames, range(5 * len(rows))))
  assert len(near) == len(read) == len(rows)
  assert len(decoded) == sum(map(len, plain))
  np.testing.assert_array_equal(found[::5], plain)
  np.testing.assert_array_equal(found[4::5], plain)


def test_old_neighbours_go(rows):
  near = clips.Neighbours(clips.ClipSource(rows), 2)
  first = near[0]
  assert near[0] is first
  near[1], near[2]
  assert near[0] is not first


def test_a_copy_of_neighbours_starts_empty(rows):
  near = clips.Neighbours(clips.ClipSource(rows), 2)
  first = near[0]
  copy = pickle.loads(pickle.dumps(near))
  assert copy[0] is not first and copy[0]['clip_id'] == first['clip_id']
