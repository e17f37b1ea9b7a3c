"""Bootstrap intervals of the metrics, over resampled subjects."""

import collections
from collections.abc import Sequence

import numpy as np

from nasfas_jax.metrics import fixed_rates, operating_points, rates

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
) -> dict[str, object]:
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
    [low, high] for `hter`, `acer`, `apcer_max`, `apcer_pooled`, `bpcer`, `eer`
    and `auc`, and for the rates in `bpcer_at_apcer`, `apcer_at_bpcer` and
    `error_at_share`, in the form of `rates.summarise`. None if a class is
    missing, or if there are fewer than two subjects.
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
  intervals |= dict.fromkeys(('eer', 'auc', 'apcer_pooled'))
  limits = [f'{limit:g}' for limit in fixed_rates.LIMITS]
  for name in fixed_rates.NAMES:
    intervals[name] = {
      limit: dict.fromkeys(fixed_rates.POOLINGS) for limit in limits
    }
  intervals['error_at_share'] = {f'{s:g}': None for s in rates.ATTACK_SHARES}
  if len(names) < 2:
    return intervals

  draws = draw_subjects(subject_index, live, num_samples, seed)
  attack_types = np.asarray(attack_types, str)
  # Path in `intervals` -> its values, a block at a time.
  samples = collections.defaultdict(list)
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
      worst = (passed / np.maximum(attacks, 1)).max(axis=1)
      pooled = passed.sum(axis=1) / attacks.sum(axis=1)
      samples['apcer_max',].append(worst)
      samples['apcer_pooled',].append(pooled)
    if live.any():
      bona_fide = rejected / num_live
      samples['bpcer',].append(bona_fide)
    if live.any() and not live.all():
      samples['hter',].append((pooled + bona_fide) / 2)
      samples['acer',].append((worst + bona_fide) / 2)
      for share in rates.ATTACK_SHARES:
        samples['error_at_share', f'{share:g}'].append(
          share * pooled + (1 - share) * bona_fide
        )
      curve = operating_points.count_errors(scores, live, weights)
      samples['eer',].append(operating_points.eer_points(curve)[0])
      samples['auc',].append(operating_points.areas(curve))
      found = fixed_rates.all_points(scores, live, attack_types, weights, curve)
      for path, values in found.items():
        samples[path].append(values)
  tail = (1 - confidence) / 2
  for (*parents, name), blocks in samples.items():
    bounds = np.quantile(np.concatenate(blocks), (tail, 1 - tail))
    place = intervals
    for parent in parents:
      place = place[parent]
    place[name] = [float(bound) for bound in bounds]
  return intervals


def draw_subjects(
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
