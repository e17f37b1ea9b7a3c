"""Clips a second of the builder of videos, against the bare decoder.

Both run on one thread of the same process, in turns, over made-up videos of
the size and length of OULU-NPU's and Replay-Attack's.
"""

import pathlib
import tempfile

import cv2
import numpy as np

from benchmarks import timing
from nasfas_datasets import clip_record, listing, video_builder
from nasfas_jax.preprocessing import video

# width, height, frames, codec, suffix; the face is in the middle, 0.45 of the
# shorter side wide.
VIDEOS = {
  '1080x1920, 150 frames': (1080, 1920, 150, 'mp4v', '.mp4'),
  '320x240, 240 frames, Motion JPEG': (320, 240, 240, 'MJPG', '.avi'),
}


def write_video(path: pathlib.Path, width, height, frames, codec) -> None:
  """A textured scene that drifts, with noise."""
  rng = np.random.default_rng(0)
  scene = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
  scene = cv2.resize(scene, (width, height), interpolation=cv2.INTER_CUBIC)
  noise = rng.integers(0, 16, (height, width, 3), np.uint8)
  writer = cv2.VideoWriter(
    str(path), cv2.VideoWriter_fourcc(*codec), 30, (width, height)
  )
  if not writer.isOpened():
    raise RuntimeError(f'OpenCV cannot write {codec} to {path.suffix}.')
  for frame in range(frames):
    moved = np.roll(scene, frame, axis=1)
    writer.write(cv2.add(moved, np.roll(noise, 7 * frame, axis=0)))
  writer.release()


def write_boxes(path, width, height, frames) -> listing.Boxes:
  """A box a frame, in the form of Replay-Attack's files."""
  side = round(0.45 * min(width, height))
  box = ((width - side) // 2, (height - side) // 2, side, side)
  annotation = path.with_suffix('.face')
  annotation.write_text(
    ''.join(f'{i} {" ".join(map(str, box))}\n' for i in range(frames)),
    encoding='ascii',
  )
  return listing.Boxes('frame_xywh', annotation)


def decode(path: pathlib.Path, num_frames: int) -> None:
  """The least that has to be done: reach and decode the stored frames."""
  capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
  total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
  wanted = set(video.even_indices(total, num_frames).tolist())
  for place in range(max(wanted) + 1):
    if not capture.grab():
      raise RuntimeError(f'{path}: ends at frame {place} of {total}.')
    if place in wanted:
      capture.retrieve()
  capture.release()


def measure() -> dict[str, dict[str, float]]:
  """Ratios and seconds; see `benchmarks.run`."""
  found = {'ratios': {}, 'seconds': {}}
  config = video_builder.CONFIGS[0]
  threads = cv2.getNumThreads()
  cv2.setNumThreads(1)
  try:
    with tempfile.TemporaryDirectory() as folder:
      for name, (*size, codec, suffix) in VIDEOS.items():
        path = pathlib.Path(folder) / f'clip{suffix}'
        write_video(path, *size, codec)
        boxes = write_boxes(path, *size)
        clip = listing.Clip(path, 'clip', '1', 'train', 1, 'live', boxes=boxes)
        seconds = timing.medians(
          {
            'decoder': lambda path=path: decode(path, config.num_frames),
            'builder': lambda clip=clip: clip_record.make_clip(
              clip, dataset='oulu_npu', config=config
            ),
          },
          rounds=7,
        )
        for part, value in seconds.items():
          found['seconds'][f'{part}, {name}'] = value
        found['ratios'][f'builder / bare decoder, clips a second, {name}'] = (
          seconds['decoder'] / seconds['builder']
        )
  finally:
    cv2.setNumThreads(threads)
  return found
