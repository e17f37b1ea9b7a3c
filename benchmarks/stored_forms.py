"""Bytes and clips a second of lossless forms in which frames can be stored.

python -m benchmarks.stored_forms [--json=FILE] [--sizes=256,416]

On one thread of one core, over rendered clips of eight frames: as the simulated
camera gives them, and after H.264 (CRF 18), as real datasets are compressed.
Each decoded clip is compared with the original, bit by bit. Prints a table for
each size and kind. `pip install blosc2 imagecodecs av` first: forms whose
package is missing are left out, and so is H.264 without `av`.
"""

import dataclasses
import functools
import importlib.util
import io
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import zstandard
from absl import app, flags

from nasfas_datasets.synthetic_fas import camera, plan, render
from nasfas_jax import files, stored_frames

NUM_CLIPS = 8
CRF = 18
ROUNDS = 4

_JSON = flags.DEFINE_string('json', '', 'File to write; "" writes none.')
_SIZES = flags.DEFINE_list('sizes', ['256', '416'], 'Sides in pixels.')


@dataclasses.dataclass(frozen=True)
class Form:
  """A way to store a clip, uint8 RGB [N, S, S, 3].

  Attributes:
    pack: clip -> its files.
    unpack: (files, places of frames, shape of the clip) -> those frames.
    package: that it needs; '' for none beyond the project's.
  """

  pack: Callable[[np.ndarray], list[bytes]]
  unpack: Callable[[list[bytes], Sequence[int], tuple], np.ndarray]
  package: str = ''


def _a_file_a_frame(pack, unpack, package='') -> Form:
  """A form with functions of one frame."""
  return Form(
    lambda clip: [pack(frame) for frame in clip],
    lambda data, places, shape: np.stack(
      [unpack(data[i], shape[1:]) for i in places]
    ),
    package,
  )


def _opencv(suffix: str, *options: int) -> Form:
  def pack(frame):
    done, data = cv2.imencode(suffix, frame[..., ::-1], options)
    if not done:
      raise RuntimeError(f'OpenCV cannot write {suffix}.')
    return data.tobytes()

  def unpack(data, shape):
    del shape
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

  return _a_file_a_frame(pack, unpack)


def _imagecodecs(name: str, **options) -> Form:
  def pack(frame):
    import imagecodecs

    return getattr(imagecodecs, f'{name}_encode')(frame, **options)

  def unpack(data, shape):
    import imagecodecs

    del shape
    return getattr(imagecodecs, f'{name}_decode')(data)

  return _a_file_a_frame(pack, unpack, 'imagecodecs')


def _blosc_pack(array, codec: str, filter_: str, typesize: int) -> bytes:
  import blosc2

  return blosc2.compress2(
    np.ascontiguousarray(array),
    codec=blosc2.Codec[codec],
    filters=[blosc2.Filter[filter_]],
    clevel=5,
    typesize=typesize,
    nthreads=1,
  )


def _blosc_unpack(data: bytes, shape: tuple) -> np.ndarray:
  import blosc2

  found = np.empty(shape, np.uint8)
  blosc2.decompress2(data, dst=found, nthreads=1)
  return found


def _blosc(codec: str, filter_: str) -> Form:
  """Interleaved pixels; the filter takes the three channels apart."""
  return _a_file_a_frame(
    lambda frame: _blosc_pack(frame, codec, filter_, 3), _blosc_unpack, 'blosc2'
  )


def _blosc_planar(codec: str, filter_: str) -> Form:
  def unpack(data, shape):
    planes = _blosc_unpack(data, (3, *shape[:2]))
    return cv2.merge(list(planes))

  return _a_file_a_frame(
    lambda frame: _blosc_pack(frame.transpose(2, 0, 1), codec, filter_, 1),
    unpack,
    'blosc2',
  )


def _blosc_frame_differences(codec: str) -> Form:
  """A frame is its difference to the one before; one file a clip."""

  def pack(clip):
    found = clip.copy()
    found[1:] -= clip[:-1]
    return [_blosc_pack(found, codec, 'BITSHUFFLE', 3)]

  def unpack(data, places, shape):
    found = _blosc_unpack(data[0], shape)
    for before, frame in zip(found[:-1], found[1:], strict=True):
      np.add(before, frame, out=frame)
    return found[list(places)]

  return Form(pack, unpack, 'blosc2')


def _planes() -> Form:
  """The project's own."""
  return Form(
    lambda clip: [stored_frames.encode(frame) for frame in clip],
    lambda data, places, shape: stored_frames.decode([data[i] for i in places]),
  )


def _differences(clip: np.ndarray) -> np.ndarray:
  """What a planes file packs, of all frames, [S, N, 3, S]."""
  planes = np.array(clip.transpose(1, 0, 3, 2), order='C')
  planes[:, :, 0::2] -= planes[:, :, 1:2]
  planes[1:] -= planes[:-1].copy()
  return planes


def _undone(rows: np.ndarray, places: Sequence[int]) -> np.ndarray:
  for above, row in zip(rows[:-1], rows[1:], strict=True):
    np.add(above, row, out=row)
  rows[:, :, 0::2] += rows[:, :, 1:2]
  return np.stack(
    [cv2.merge([rows[:, i, c] for c in range(3)]) for i in places]
  )


def _planes_of_clip() -> Form:
  """The same, but all frames of a clip in one file."""

  def pack(clip):
    packer = zstandard.ZstdCompressor(level=5, write_checksum=True)
    return [packer.compress(_differences(clip).data)]

  def unpack(data, places, shape):
    number, height, width, _ = shape
    rows = np.frombuffer(
      bytearray(zstandard.decompress(data[0])), np.uint8
    ).reshape(height, number, 3, width)
    return _undone(rows, places)

  return Form(pack, unpack)


def _planes_blosc(codec: str) -> Form:
  """The same with another packer, all frames of a clip in one file."""

  def unpack(data, places, shape):
    number, height, width, _ = shape
    rows = _blosc_unpack(data[0], (height, number, 3, width))
    return _undone(rows, places)

  return Form(
    lambda clip: [_blosc_pack(_differences(clip), codec, 'BITSHUFFLE', 1)],
    unpack,
    'blosc2',
  )


FORMS = {
  'PNG (before)': _opencv('.png'),
  'PNG, fastest': _opencv('.png', cv2.IMWRITE_PNG_COMPRESSION, 1),
  'WebP': _opencv('.webp', cv2.IMWRITE_WEBP_QUALITY, 101),
  'JPEG-LS': _imagecodecs('jpegls'),
  'QOI': _imagecodecs('qoi'),
  'JPEG XL, effort 1': _imagecodecs('jpegxl', lossless=True, effort=1),
  'blosc2 LZ4, shuffle': _blosc('LZ4', 'SHUFFLE'),
  'blosc2 LZ4, bitshuffle': _blosc('LZ4', 'BITSHUFFLE'),
  'blosc2 Zstd, shuffle': _blosc('ZSTD', 'SHUFFLE'),
  'blosc2 Zstd, bitshuffle': _blosc('ZSTD', 'BITSHUFFLE'),
  'blosc2 Zstd, bitshuffle, planar': _blosc_planar('ZSTD', 'BITSHUFFLE'),
  'frame differences, blosc2 LZ4, bitshuffle': _blosc_frame_differences('LZ4'),
  'frame differences, blosc2 Zstd, bitshuffle': _blosc_frame_differences(
    'ZSTD'
  ),
  'row and colour differences, blosc2 LZ4, bitshuffle': _planes_blosc('LZ4'),
  'row and colour differences, blosc2 Zstd, bitshuffle': _planes_blosc('ZSTD'),
  'planes, a file a clip': _planes_of_clip(),
  '**planes, a file a frame**': _planes(),
}


def render_clips(size: int) -> np.ndarray:
  """Rendered clips, uint8 [NUM_CLIPS, 8, S, S, 3]; rooms and types in turn."""
  camera.SIZE = size
  camera.FACE_PIXELS = size * 50 // 80
  render._programs.cache_clear()
  clips = plan.make_plan(plan.SIZES['default'])
  # Every so manyth clip is of another room; one more is of another type.
  step = len(clips) // NUM_CLIPS
  chosen = [clips[i * (step + 5) % len(clips)] for i in range(NUM_CLIPS)]
  return np.stack([frames for _, frames, _, _ in render.render(chosen)])


def through_h264(clip: np.ndarray) -> np.ndarray:
  """A clip as a decoder gives it after H.264, same shape."""
  import av

  file = io.BytesIO()
  with av.open(file, 'w', format='mp4') as out:
    stream = out.add_stream('libx264', rate=25)
    stream.height, stream.width = clip.shape[1:3]
    stream.pix_fmt = 'yuv420p'
    stream.options = {'crf': str(CRF)}
    for frame in clip:
      out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
    out.mux(stream.encode())
  file.seek(0)
  with av.open(file) as video:
    return np.stack(
      [frame.to_ndarray(format='rgb24') for frame in video.decode(video=0)]
    )


def _seconds(function, items) -> float:
  """Median processor time of a call."""
  found = []
  for _ in range(ROUNDS):
    for item in items:
      start = time.process_time()
      function(item)
      found.append(time.process_time() - start)
  return statistics.median(found)


def measure(clips: np.ndarray) -> dict[str, dict[str, float]]:
  """Form -> 'bytes' of a clip and 'decode', 'encode' seconds, 'of_32' seconds.

  'of_32' is for 8 consecutive frames of a clip of 32.

  Args:
    clips: uint8 [C, 8, S, S, 3].
  """
  number = clips.shape[1]
  long = clips[:4].reshape(-1, *clips.shape[2:])
  some = range(12, 12 + number)
  found = {}
  for name, form in FORMS.items():
    if form.package and importlib.util.find_spec(form.package) is None:
      print(f'{name}: left out, {form.package} is missing')
      continue
    start = time.process_time()
    packed = [form.pack(clip) for clip in clips]
    encode = (time.process_time() - start) / len(clips)
    unpack = functools.partial(
      form.unpack, places=range(number), shape=clips.shape[1:]
    )
    for clip, data in zip(clips, packed, strict=True):
      np.testing.assert_array_equal(unpack(data), clip)
    of_long = functools.partial(form.unpack, places=some, shape=long.shape)
    found[name] = {
      'bytes': statistics.mean(sum(map(len, data)) for data in packed),
      'decode': _seconds(unpack, packed),
      'of_32': _seconds(of_long, [form.pack(long)]),
      'encode': encode,
    }
  return found


def table(found: dict[str, dict[str, float]]) -> list[str]:
  """The lines of a table in Markdown."""
  lines = [
    '| form | KiB a clip | of PNG | clips/s a core | 8 frames of 32 | '
    'encode, clips/s |',
    '|---|---|---|---|---|---|',
  ]
  whole = found['PNG (before)']['bytes']
  for name, values in found.items():
    lines.append(
      f'| {name} | {values["bytes"] / 1024:.0f} | {values["bytes"] / whole:.2f}'
      f' | {1 / values["decode"]:.0f} | {1 / values["of_32"]:.0f} | '
      f'{1 / values["encode"]:.0f} |'
    )
  return lines


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  cv2.setNumThreads(1)
  print(f'{platform.machine()}, {os.cpu_count()} CPUs')
  results = {}
  for size in map(int, _SIZES.value):
    rendered = render_clips(size)
    kinds = {'rendered': rendered}
    if importlib.util.find_spec('av') is None:
      print('H.264: left out, av is missing')
    else:
      kinds['after H.264'] = np.stack([through_h264(clip) for clip in rendered])
    for kind, clips in kinds.items():
      found = results[f'{size}, {kind}'] = measure(clips)
      print(f'\n{size}x{size}, {kind}\n', *table(found), sep='\n', flush=True)
  if _JSON.value:
    files.write_json(_JSON.value, results)


if __name__ == '__main__':
  app.run(main)
