"""Writes a few real video files and their manifest, for trying things out.

  python -m nasfas_datasets.manifest_fas.astronaut_example --out=DIR

The picture is `skimage.data.astronaut()` (NASA, public domain), which comes
with scikit-image. All "subjects" are variants of this one picture and the
attacks are imitated: a smoke test of the whole path, not a benchmark.
"""

import argparse
import csv
import dataclasses
import os
import pathlib

import cv2
import numpy as np

SIZE = 192
NUM_FRAMES = 24
FPS = 25
SESSIONS = ('day', 'evening')
ATTACKS = ('live', 'print', 'replay')
SPLIT_OF_SUBJECT = ('train',) * 4 + ('dev',) * 2 + ('test',) * 2

# The part of the picture that is used, and the face in it.
_REGION = (slice(0, 320), slice(66, 386))
_FACE = np.array([106.0, 60.0, 214.0, 190.0])


@dataclasses.dataclass(frozen=True)
class Subject:
  """A variant of the picture that stands in for a person.

  Attributes:
    picture: uint8 RGB [SIZE, SIZE, 3].
    depth: float32 [SIZE, SIZE], 1 at the tip of the nose, 0 behind.
    box: the face box [4].
  """

  picture: np.ndarray
  depth: np.ndarray
  box: np.ndarray


def make_subject(number: int) -> Subject:
  """Mirrors, stretches and tints the picture in a way that the number sets."""
  from skimage import data  # An extra: only this script needs it.

  picture = np.ascontiguousarray(data.astronaut()[_REGION])
  scale = SIZE / picture.shape[0]
  stretch = np.array([0.92, 1.0, 1.08, 0.96])[number // 2 % 4]
  # x' = SIZE / 2 + stretch * (scale * x - SIZE / 2), y' = scale * y.
  matrix = np.array(
    [
      [stretch * scale, 0.0, SIZE / 2 * (1 - stretch)],
      [0.0, scale, 0.0],
    ]
  )
  picture = cv2.warpAffine(
    picture,
    matrix,
    (SIZE, SIZE),
    flags=cv2.INTER_AREA,
    borderMode=cv2.BORDER_REFLECT,
  )
  box = scale * _FACE
  box[[0, 2]] = SIZE / 2 + stretch * (box[[0, 2]] - SIZE / 2)
  if number % 2:
    picture = np.ascontiguousarray(picture[:, ::-1])
    box = np.array([SIZE - box[2], box[1], SIZE - box[0], box[3]])
  hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.int32)
  hsv[..., 0] = (hsv[..., 0] + (-4, 3, 6, -2, 1, 5, -5, 4)[number % 8]) % 180
  hsv[..., 1] = np.clip(hsv[..., 1] * (0.8 + 0.06 * (number % 8)), 0, 255)
  picture = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
  y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) + 0.5
  u = (2 * x - box[0] - box[2]) / (1.3 * (box[2] - box[0]))
  v = (2 * y - box[1] - box[3]) / (1.3 * (box[3] - box[1]))
  depth = np.sqrt(np.clip(1 - u**2 - v**2, 0, None))
  depth = cv2.GaussianBlur(depth, (0, 0), 3)
  return Subject(picture, depth.astype(np.float32), box)


def _path(rng: np.random.Generator, amplitude: float, count: int) -> np.ndarray:
  """A smooth random motion: [NUM_FRAMES, count]."""
  time = np.linspace(0, 2 * np.pi, NUM_FRAMES)[:, None]
  phase = rng.uniform(0, 2 * np.pi, (2, count))
  motion = amplitude * (
    0.7 * np.sin(time + phase[0]) + 0.3 * np.sin(2.3 * time + phase[1])
  )
  return motion.astype(np.float32)


def live_frames(subject: Subject, rng: np.random.Generator) -> list[np.ndarray]:
  """A turning head, with parallax: near points move further than far ones."""
  y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
  x0, y0, x1, y1 = subject.box
  mouth = np.exp(
    -(((x - (x0 + x1) / 2) / (0.2 * (x1 - x0))) ** 2)
    - ((y - (y0 + 0.8 * (y1 - y0))) / (0.12 * (y1 - y0))) ** 2
  ).astype(np.float32)
  turn = _path(rng, 5.0, 2)
  speech = np.abs(_path(rng, 2.5, 1))
  zoom = _path(rng, 0.02, 1)
  frames = []
  for (dx, dy), (open_mouth,), (grow,) in zip(turn, speech, zoom, strict=True):
    step = 1 - grow * subject.depth
    frames.append(
      cv2.remap(
        subject.picture,
        SIZE / 2 + (x - SIZE / 2) * step - dx * subject.depth,
        SIZE / 2
        + (y - SIZE / 2) * step
        - dy * subject.depth
        - open_mouth * mouth,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
      )
    )
  return frames


def _move_plane(frame: np.ndarray, motion: np.ndarray) -> np.ndarray:
  """Moves and tilts a flat picture as a hand does: corners by [4, 2] pixels."""
  corners = np.float32([[0, 0], [SIZE, 0], [SIZE, SIZE], [0, SIZE]])
  moved = corners + motion.reshape(4, 2).astype(np.float32)
  return cv2.warpPerspective(
    frame,
    cv2.getPerspectiveTransform(corners, moved),
    (SIZE, SIZE),
    borderMode=cv2.BORDER_REFLECT,
  )


def _planar_motion(rng: np.random.Generator) -> np.ndarray:
  """[NUM_FRAMES, 8]: the whole plane shakes and its corners tilt a little."""
  shake = np.tile(_path(rng, 4.0, 2), (1, 4))
  return shake + _path(rng, 1.5, 8)


def print_frames(
  subject: Subject, rng: np.random.Generator
) -> list[np.ndarray]:
  """The picture on paper: halftone dots, a narrow gamut, moved by hand."""
  y, x = np.mgrid[:SIZE, :SIZE]
  dots = np.stack(
    [
      np.sin(2 * np.pi * (x * np.cos(a) + y * np.sin(a)) / 3.1)
      * np.sin(2 * np.pi * (y * np.cos(a) - x * np.sin(a)) / 3.1)
      for a in (0.26, 1.31, 0.79)
    ],
    axis=-1,
  )
  paper = np.array([236.0, 230.0, 214.0])
  printed = subject.picture + 22 * dots
  printed = 30 + printed / 255 * (paper - 30)
  printed += cv2.GaussianBlur(rng.normal(0, 12, (SIZE, SIZE, 1)), (0, 0), 1.5)[
    ..., None
  ]
  printed = np.clip(printed, 0, 255).astype(np.uint8)
  return [_move_plane(printed, motion) for motion in _planar_motion(rng)]


def replay_frames(
  subject: Subject, rng: np.random.Generator
) -> list[np.ndarray]:
  """A live clip on a screen: pixel grid, steep gamma, blue tint, flicker."""
  y, x = np.mgrid[:SIZE, :SIZE]
  grid = np.stack([0.88 + 0.12 * ((x + c) % 3 == 0) for c in range(3)], axis=-1)
  grid *= (0.94 + 0.06 * (y % 3 > 0))[..., None]
  tint = np.array([0.9, 0.97, 1.1])
  motion = _planar_motion(rng)
  frames = []
  for number, frame in enumerate(live_frames(subject, rng)):
    flicker = 1 + 0.06 * np.sin(2 * np.pi * 0.37 * number)
    shown = 255 * (frame / 255) ** 1.25 * grid * tint * flicker
    shown = np.clip(shown, 0, 255).astype(np.uint8)
    frames.append(_move_plane(shown, 0.6 * motion[number]))
  return frames


def _record(
  frame: np.ndarray, session: str, rng: np.random.Generator
) -> np.ndarray:
  """A view as recorded by the session's camera, in its light."""
  light = {
    'day': np.array([1.0, 1.0, 1.0]),
    'evening': np.array([0.86, 0.74, 0.6]),
  }[session]
  noise = {'day': 1.5, 'evening': 4.0}[session]
  image = frame * light + rng.normal(0, noise, frame.shape)
  if session == 'evening':
    image = cv2.GaussianBlur(image, (0, 0), 0.7)
  return np.clip(image, 0, 255).astype(np.uint8)


def _write_video(path: pathlib.Path, frames: list[np.ndarray]) -> None:
  code = 'MJPG' if path.suffix == '.avi' else 'mp4v'
  writer = cv2.VideoWriter(
    str(path), cv2.VideoWriter_fourcc(*code), FPS, (SIZE, SIZE)
  )
  if not writer.isOpened():
    raise RuntimeError(f'OpenCV cannot write {path} with the codec {code}.')
  for frame in frames:
    writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
  writer.release()


def write_example(out: str | os.PathLike) -> pathlib.Path:
  """Writes the videos and manifest.csv into a folder; returns the manifest."""
  out = pathlib.Path(out)
  out.mkdir(parents=True, exist_ok=True)
  makers = dict(
    zip(ATTACKS, (live_frames, print_frames, replay_frames), strict=True)
  )
  media = {'live': '', 'print': 'paper', 'replay': 'screen'}
  manifest = out / 'manifest.csv'
  with open(manifest, 'w', encoding='utf-8', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(
      'path,label,attack_type,subject,split,session,camera,medium,'
      'box_x0,box_y0,box_x1,box_y1'.split(',')
    )
    for number, split in enumerate(SPLIT_OF_SUBJECT):
      subject = make_subject(number)
      box = [f'{value:.1f}' for value in subject.box]
      for place, session in enumerate(SESSIONS):
        camera, suffix = (('webcam', 'avi'), ('phone', 'mp4'))[place]
        for kind, attack in enumerate(ATTACKS):
          rng = np.random.default_rng([number, place, kind])
          path = pathlib.Path(session, f'variant{number}_{attack}.{suffix}')
          (out / session).mkdir(exist_ok=True)
          frames = [
            _record(frame, session, rng)
            for frame in makers[attack](subject, rng)
          ]
          _write_video(out / path, frames)
          writer.writerow(
            [
              path.as_posix(),
              'live' if attack == 'live' else 'spoof',
              attack,
              f'variant{number}',
              split,
              session,
              camera,
              media[attack],
              *box,
            ]
          )
  return manifest


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--out', required=True, help='folder to write into')
  arguments = parser.parse_args()
  print(f'Wrote {write_example(arguments.out)}')


if __name__ == '__main__':
  main()
