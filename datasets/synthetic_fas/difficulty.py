"""Measures how far simple classifiers get on synthetic_fas.

python -m nasfas_datasets.synthetic_fas.difficulty
python -m nasfas_datasets.synthetic_fas.difficulty --version=1.0.0

Needs the [test] extra. Logistic regression on hand-made features of a clip is
trained on some rooms (train split), its threshold is the one of equal error
rate on their dev split, and it is tested on other rooms (test split). In 2.0.0
the rooms are those of unseen_rooms and seen_rooms; 1.0.0 tests each of its four
rooms in turn, trained on the other three.
"""

import cv2
import numpy as np
from absl import app, flags, logging
from skimage import feature
from sklearn import linear_model, metrics, pipeline, preprocessing

from nasfas_datasets import prepare
from nasfas_datasets.synthetic_fas import (
  camera,
  rooms,
  synthetic_fas_dataset_builder,
)
from nasfas_datasets.synthetic_fas.v2 import plan as v2_plan
from nasfas_jax import records, stored_frames

_SIDE = 64  # of the crop: face scale 1.28


def colour_features(frames: np.ndarray) -> np.ndarray:
  """Statistics of colour and contrast, the mean over the frames.

  Args:
    frames: uint8 [K, H, W, 3].

  Returns:
    Mean and standard deviation of R, G, B and of the HSV saturation, skewness
    and the 5th, 50th and 95th percentile of the luma, and its contrast (p95 -
    p5) / (p95 + p5).
  """
  rows = []
  for frame in frames:
    pixels = frame.reshape(-1, 3) / 255.0
    grey = pixels @ np.array(camera.LUMA)
    saturation = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)[..., 1] / 255.0
    low, middle, high = np.percentile(grey, (5, 50, 95))
    skew = np.mean((grey - grey.mean()) ** 3) / (grey.std() ** 3 + 1e-6)
    rows.append([
      *pixels.mean(0), *pixels.std(0), saturation.mean(), saturation.std(),
      skew, low, middle, high, (high - low) / (high + low + 1e-6),
    ])  # fmt: skip
  return np.mean(rows, axis=0)


def texture_features(frames: np.ndarray) -> np.ndarray:
  """Histograms of uniform local binary patterns of the luma, radius 1 and 2."""
  rows = []
  for frame in frames[::3]:
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    row = []
    for points, radius in ((8, 1), (16, 2)):
      codes = feature.local_binary_pattern(grey, points, radius, 'uniform')
      counts = np.bincount(codes.astype(int).ravel(), minlength=points + 2)
      row.append(counts / codes.size)
    rows.append(np.concatenate(row))
  return np.mean(rows, axis=0)


def motion_features(frames: np.ndarray) -> np.ndarray:
  """Statistics of the differences between frames that follow each other."""
  grey = frames @ np.array(camera.LUMA) / 255.0
  change = np.abs(np.diff(grey, axis=0))
  by_frame = change.mean((1, 2))
  return np.array([
    change.mean(), change.std(), by_frame.min(), by_frame.max(),
    by_frame.std(), *np.percentile(change, (50, 90, 99)),
  ])  # fmt: skip


FEATURES = {
  'colour and contrast': colour_features,
  'local binary patterns': texture_features,
  'frame differences': motion_features,
}


def crop_face(frames: np.ndarray, face_box: np.ndarray) -> np.ndarray:
  """The 64 x 64 crop about the face box; [K, 64, 64, 3]."""
  x0 = int((face_box[0] + face_box[2] - _SIDE) / 2)
  y0 = int((face_box[1] + face_box[3] - _SIDE) / 2)
  return frames[:, y0 : y0 + _SIDE, x0 : x0 + _SIDE]


_WORDS = ('session', 'split', 'attack_type', 'subject', 'lists')


def load(data_dir, version: str) -> dict[str, np.ndarray]:
  """Features, labels and metadata of all clips, by name; arrays [N, ...]."""
  prepare.prepare('synthetic_fas', version=version, data_dir=data_dir)
  builder = synthetic_fas_dataset_builder.Builder(
    config='default', version=version, data_dir=data_dir
  )
  columns = {name: [] for name in (*FEATURES, 'label', *_WORDS)}
  for split in records.SPLITS:
    for record in builder.as_data_source(split):
      frames = stored_frames.decode(record['frames'])
      frames = crop_face(frames, record['face_box'])
      for name, compute in FEATURES.items():
        columns[name].append(compute(np.ascontiguousarray(frames)))
      columns['label'].append(int(record['label']))
      for name in _WORDS:
        columns[name].append(record[name].decode())
  return {name: np.array(values) for name, values in columns.items()}


def equal_error_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
  """The threshold at which APCER and BPCER are nearest to each other."""
  apcer, recall, thresholds = metrics.roc_curve(labels, scores)
  best = np.argmin(np.abs(apcer - (1.0 - recall))[1:]) + 1
  return float(thresholds[best])


def measure(data: dict[str, np.ndarray], name: str, domain: str):
  """(AUC, HTER) of the features `name`, tested on a domain not trained on."""
  seen = data['session'] != domain
  return judge(data, name, seen, ~seen)[:2]


def judge(data, name: str, trained: np.ndarray, tested: np.ndarray):
  """Trains logistic regression on features and tests it.

  Args:
    data: from `load`.
    name: of the features.
    trained: bool [N], the rooms whose train and dev splits are used.
    tested: bool [N], the rooms whose test split is.

  Returns:
    (AUC, HTER, bool [M] errors of the tested clips, their rows int [M]).
  """
  model = pipeline.make_pipeline(
    preprocessing.StandardScaler(),
    linear_model.LogisticRegression(max_iter=5000, class_weight='balanced'),
  )

  def pick(chosen):
    return data[name][chosen], data['label'][chosen]

  model.fit(*pick(trained & (data['split'] == 'train')))
  dev_x, dev_y = pick(trained & (data['split'] == 'dev'))
  threshold = equal_error_threshold(dev_y, model.decision_function(dev_x))
  rows = np.flatnonzero(tested & (data['split'] == 'test'))
  x, y = pick(rows)
  scores = model.decision_function(x)
  accepted = scores >= threshold
  hter = (accepted[y == 0].mean() + (~accepted[y == 1]).mean()) / 2
  return metrics.roc_auc_score(y, scores), hter, accepted != y, rows


def correlation(wrong: np.ndarray, subjects: np.ndarray) -> float:
  """How alike errors of one subject are: the intraclass correlation.

  From the one-way analysis of variance (Fleiss, "Statistical methods for rates
  and proportions", 1981, section 13.1).

  Args:
    wrong: bool [N].
    subjects: their names [N].
  """
  groups = [wrong[subjects == s].astype(float) for s in np.unique(subjects)]
  sizes = np.array([len(group) for group in groups])
  means = np.array([group.mean() for group in groups])
  total, number = sizes.sum(), len(groups)
  between = np.sum(sizes * (means - wrong.mean()) ** 2) / (number - 1)
  within = sum(np.sum((g - g.mean()) ** 2) for g in groups) / (total - number)
  size = (total - np.sum(sizes**2) / total) / (number - 1)
  return float((between - within) / (between + (size - 1) * within))


def print_second(data) -> None:
  """Prints the table of version 2.0.0."""
  print('| AUC / HTER | seen rooms | unseen rooms |\n|---|---|---|')
  found = []
  for name in FEATURES:
    seen = data['lists'] == v2_plan.SEEN
    cells = []
    for tested in (seen, ~seen):
      auc, hter, wrong, rows = judge(data, name, seen, tested)
      cells.append(f'{auc:.2f} / {hter:.2f}')
    for label in (1, 0):
      chosen = data['label'][rows] == label
      found.append(correlation(wrong[chosen], data['subject'][rows][chosen]))
    print(f'| {name} | {" | ".join(cells)} |')
  listed = ', '.join(f'{value:.2f}' for value in found)
  print(
    'Correlation of errors within a subject, unseen rooms, live and attacks of '
    f'each row: {listed}'
  )


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  logging.set_verbosity(logging.WARNING)
  data = load(flags.FLAGS.data_dir, flags.FLAGS.version)
  if flags.FLAGS.version != '1.0.0':
    print_second(data)
    return
  domains = [d.name for d in rooms.DOMAINS]
  print(f'| AUC / HTER | {" | ".join(domains)} | mean |')
  print('|' + '---|' * (len(domains) + 2))
  for name in FEATURES:
    results = [measure(data, name, domain) for domain in domains]
    results.append(np.mean(results, axis=0))
    cells = [f'{auc:.2f} / {hter:.2f}' for auc, hter in results]
    print(f'| {name} | {" | ".join(cells)} |')


if __name__ == '__main__':
  flags.DEFINE_string('data_dir', None, 'Where datasets are kept.')
  flags.DEFINE_enum('version', '2.0.0', ['1.0.0', '2.0.0'], 'Of the dataset.')
  app.run(main)
