"""Bootstrap intervals of the metrics, over resampled subjects."""

from collections.abc import Sequence

import numpy as np

from nasfas_jax.metrics import operating_points

# Elements of a block of bootstrap weights; limits memory, not the result.
_BLOCK_SIZE = 1 << 21


def bootstrap_intervals(
  scores: np.ndarray,
  labels: np.ndarray,
  attack_types: Sequence[str],
  subjects: Sequence[str],
  threshold: float,
  *,
  num_samples: int = 1000,
  confidence: float = 0.95,
  seed: int = 0,
) -> dict[str, list[float] | None]:
  """Percentile intervals of metrics over resampled subjects.

  Clips of one person are not independent, so whole subjects are drawn with
  replacement. The threshold stays fixed. A resample that lacks a class of the
  split is drawn again. An attack type that a resample lacks does not count in
  its APCER maximum.

  Args:
    scores: floats [N].
    labels: ints [N], 1 live, 0 spoof.
    attack_types: strings [N], 'live' for live clips and only for them.
    subjects: strings [N], unique over the datasets of the split.
    threshold: live when score > threshold.
    num_samples: number of resamples.
    confidence: share of the resamples inside an interval, in (0, 1).
    seed: same seed, same intervals.

  Returns:
    [low, high] for `hter`, `acer`, `apcer_max`, `bpcer`, `eer` and `auc`. None
    if a class is missing, or if there are fewer than two subjects.
  """
  scores, live = operating_points.check_scores(
    scores, labels, attack_types=attack_types, subjects=subjects
  )
  accepted = scores > operating_points.check_threshold(threshold)
  if num_samples < 1:
    raise ValueError(f'num_samples is {num_samples}; allowed: at least 1.')
  if not 0 < confidence < 1:
    raise ValueError(f'confidence is {confidence}; allowed: between 0 and 1.')
  names, subject_index = np.unique(
    np.asarray(subjects, str), return_inverse=True
  )
  intervals = dict.fromkeys(('hter', 'acer', 'apcer_max', 'bpcer'))
  intervals |= dict.fromkeys(('eer', 'auc'))
  if len(names) < 2:
    return intervals

  draws = _draw_subjects(subject_index, live, num_samples, seed)
  attack_types = np.asarray(attack_types, str)
  samples = {name: [] for name in intervals}
  block = max(1, _BLOCK_SIZE // len(scores))
  for start in range(0, num_samples, block):
    weights = draws[start : start + block][:, subject_index]
    # Resampled clips and errors of each type, [B, types].
    species = attack_types[:, None] == np.unique(attack_types[~live])[None]
    attacks = weights @ species.astype(np.int64)
    passed = weights @ (species & accepted[:, None]).astype(np.int64)
    num_live = weights @ live.astype(np.int64)
    rejected = weights @ (live & ~accepted).astype(np.int64)
    if not live.all():
      apcer = passed / np.maximum(attacks, 1)
      samples['apcer_max'].append(apcer.max(axis=1))
    if live.any():
      samples['bpcer'].append(rejected / num_live)
    if live.any() and not live.all():
      bona_fide = samples['bpcer'][-1]
      pooled = passed.sum(axis=1) / attacks.sum(axis=1)
      samples['hter'].append((pooled + bona_fide) / 2)
      samples['acer'].append((samples['apcer_max'][-1] + bona_fide) / 2)
      curve = operating_points.count_errors(scores, live, weights)
      samples['eer'].append(operating_points.eer_points(curve)[0])
      samples['auc'].append(operating_points.areas(curve))
  tail = (1 - confidence) / 2
  for name, blocks in samples.items():
    if blocks:
      bounds = np.quantile(np.concatenate(blocks), (tail, 1 - tail))
      intervals[name] = [float(bound) for bound in bounds]
  return intervals


def _draw_subjects(
  subject_index: np.ndarray, live: np.ndarray, num_samples: int, seed: int
) -> np.ndarray:
  """How often each subject is drawn: int64 [num_samples, subjects]."""
  num_subjects = int(subject_index.max()) + 1
  # Clips of each present class by subject; a resample must have some of each.
  clips = np.stack(
    [
      np.bincount(subject_index[mask], minlength=num_subjects)
      for mask in (live, ~live)
      if mask.any()
    ],
    axis=1,
  )
  generator = np.random.default_rng(seed)
  chances = np.full(num_subjects, 1 / num_subjects)
  draws = np.zeros((num_samples, num_subjects), np.int64)
  # This ends: a resample has all classes with a probability of at least 0.4.
  missing = np.arange(num_samples)
  while len(missing):
    draws[missing] = generator.multinomial(
      num_subjects, chances, size=len(missing)
    )
    missing = missing[(draws[missing] @ clips == 0).any(axis=1)]
  return draws
