"""Bootstrap intervals of the metrics, over resampled subjects."""

import collections
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nasfas_jax.metrics import fixed_rates, operating_points, rates

# Elements of a block of bootstrap weights; limits memory, not the result.
_BLOCK_SIZE = 1 << 21
# Narrower than any step of a rate: an interval without width.
SAME = 1e-12
# Fewer subjects of a class than this are warned of: without an error among
# them, the exact bound is above 17 %.
FEW_SUBJECTS = 20

# [low, high]; None if it is not known.
Interval = list[float] | None
# Path in the results -> the rate of attacks that is averaged with BPCER, and
# its weight.
MEANS = {
  ('hter',): ('apcer_pooled', 0.5),
  ('acer',): ('apcer_max', 0.5),
  **{
    ('error_at_share', f'{share:g}'): ('apcer_pooled', share)
    for share in rates.ATTACK_SHARES
  },
}


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

  Where the resamples agree, they know nothing of chance: clips without an error
  give none without one. A rate of 0 or 1 then has its `exact_intervals`; other
  figures have no interval. A mean of rates of which one does not move has the
  mean of their bounds.

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
    missing, if there are fewer than two subjects, or if there is no interval.
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

  attack_types = np.asarray(attack_types, str)
  species = attack_types[:, None] == np.unique(attack_types[~live])[None]
  # Path in `intervals` -> its values, a block at a time.
  samples = collections.defaultdict(list)
  for weights in resamples(subject_index, live, num_samples, seed):
    # Resampled clips and errors of each type, [B, types].
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
  bounds = {}
  for path, blocks in samples.items():
    low, high = np.quantile(np.concatenate(blocks), (tail, 1 - tail))
    bounds[path] = [float(low), float(high)] if high - low > SAME else None
  exact = exact_intervals(
    accepted != live, attack_types, subject_index, confidence
  )
  for (*parents, name), found in with_exact(bounds, exact).items():
    place = intervals
    for parent in parents:
      place = place[parent]
    place[name] = found
  return intervals


def exact_intervals(
  wrong: np.ndarray,
  attack_types: np.ndarray,
  subjects: np.ndarray,
  confidence: float,
) -> dict[str, Interval]:
  """Intervals of the rates that are exactly 0 or 1, by their subjects.

  Those of Clopper and Pearson (1934) for n trials, all alike. A trial is a
  subject, not a clip: clips of one person are not independent. The interval of
  the worst attack type ends where the largest of its types' intervals ends.

  Args:
    wrong: numbers [N], the share of networks that judge a clip wrongly.
    attack_types: strings [N], 'live' for live clips.
    subjects: [N].
    confidence: of the intervals, in (0, 1).

  Returns:
    For `bpcer`, `apcer_pooled` and `apcer_max`; None for another rate.
  """

  def of(rows):
    errors = wrong[rows]
    if not len(errors) or errors.min() != errors.max():
      return None
    far = ((1 - confidence) / 2) ** (1 / len(np.unique(subjects[rows])))
    return {0.0: [0.0, 1 - far], 1.0: [far, 1.0]}.get(float(errors[0]))

  spoof = attack_types != 'live'
  types = [of(attack_types == kind) for kind in np.unique(attack_types[spoof])]
  known = [bounds for bounds in types if bounds]
  worst = None
  # A type of 1 is the worst whatever the others are.
  if known and (len(known) == len(types) or any(b[1] == 1.0 for b in known)):
    worst = [max(ends) for ends in zip(*known, strict=True)]
  return {'bpcer': of(~spoof), 'apcer_pooled': of(spoof), 'apcer_max': worst}


def with_exact(
  bounds: Mapping[tuple[str, ...], Interval], exact: Mapping[str, Interval]
) -> dict[tuple[str, ...], Interval]:
  """Intervals, with the exact ones of the rates that have no other.

  Args:
    bounds: path in the results -> interval.
    exact: see `exact_intervals`.

  Returns:
    As `bounds`. A mean of such a rate and another has the mean of their bounds,
    or None if one of them has none.
  """
  unmoved = [name for name in exact if bounds.get((name,)) is None]
  found = {**bounds, **{(name,): exact[name] for name in unmoved}}
  for path, (attacks, weight) in MEANS.items():
    if path in bounds and {attacks, 'bpcer'} & set(unmoved):
      parts = found[attacks,], found['bpcer',]
      found[path] = None
      if all(parts):
        found[path] = [
          weight * of_attacks + (1 - weight) * of_live
          for of_attacks, of_live in zip(*parts, strict=True)
        ]
  return found


def warning(
  labels: np.ndarray,
  subjects: Sequence[str],
  attack_types: Sequence[str],
  split: str,
) -> str:
  """Why the subjects are too few for intervals; '' if they are not.

  Args:
    labels: ints [N], 1 live, 0 spoof.
    subjects: strings [N].
    attack_types: strings [N].
    split: name of the clips, for the message.
  """
  labels, subjects = np.asarray(labels), np.asarray(subjects, str)
  counts = {
    kind: len(np.unique(subjects[labels == label]))
    for label, kind in ((1, 'live'), (0, 'spoof'))
  }
  if counts['spoof'] >= FEW_SUBJECTS:
    # Else every type has few, too.
    types = np.asarray(attack_types, str)
    counts |= {
      str(kind): len(np.unique(subjects[(labels == 0) & (types == kind)]))
      for kind in np.unique(types[labels == 0])
    }
  few = [f'{n} {kind}' for kind, n in counts.items() if 0 < n < FEW_SUBJECTS]
  if not few:
    return ''
  return (
    f'The intervals rest on few subjects of the {split} clips: '
    f'{", ".join(few)}; below {FEW_SUBJECTS} they may be too narrow.'
  )


def resamples(
  subject_index: np.ndarray, live: np.ndarray, num_samples: int, seed: int
) -> Iterator[np.ndarray]:
  """Draws subjects with replacement, as many as there are.

  Args:
    subject_index: ints [N], from 0 on.
    live: bool [N].
    num_samples: number of draws that have clips of every class of `live`.
    seed: same seed, same draws, whatever the size of the blocks.

  Yields:
    int64 [B, N], how often each clip counts in each of B draws.
  """
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
  block = max(1, _BLOCK_SIZE // len(subject_index))
  # This ends: a resample has all classes with a probability of at least 0.4.
  while num_samples:
    draws = generator.multinomial(
      num_subjects, chances, size=min(block, num_samples)
    )
    draws = draws[(draws @ clips > 0).all(axis=1)]
    num_samples -= len(draws)
    if len(draws):
      yield draws[:, subject_index]
