"""Operating points: the error counts of both classes at every threshold.

The metrics and their bootstrap intervals are computed from them. Labels are 1
for live and 0 for spoof; a clip is accepted as live if score > threshold.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Curve(NamedTuple):
  """Counts at every operating point, from accept-all to accept-none.

  Column k counts at thresholds from values[k - 1] up to, but not including,
  values[k].

  Attributes:
    values: float64 [M], the distinct scores, ascending.
    rejected_live: int64 [B, M + 1].
    accepted_spoof: int64 [B, M + 1].
    num_live: int64 [B, 1].
    num_spoof: int64 [B, 1].
  """

  values: np.ndarray
  rejected_live: np.ndarray
  accepted_spoof: np.ndarray
  num_live: np.ndarray
  num_spoof: np.ndarray


def count_errors(
  scores: np.ndarray, live: np.ndarray, weights: np.ndarray
) -> Curve:
  """Counts the errors of clips that are repeated `weights` times.

  Args:
    scores: float64 [N].
    live: bool [N].
    weights: int64 [B, N].
  """
  order = np.argsort(scores, kind='stable')
  ordered = scores[order]
  ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))

  def rejected(mask):
    counts = np.cumsum((weights * mask)[:, order], axis=1)[:, ends]
    return np.pad(counts, ((0, 0), (1, 0)))

  rejected_live, rejected_spoof = rejected(live), rejected(~live)
  return Curve(
    values=ordered[ends],
    rejected_live=rejected_live,
    accepted_spoof=rejected_spoof[:, -1:] - rejected_spoof,
    num_live=rejected_live[:, -1:],
    num_spoof=rejected_spoof[:, -1:],
  )


def eer_points(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
  """The EER, float64 [B], and its column, int [B].

  Ties are resolved as in `metrics.eer`.
  """
  # In units of 1 / (num_live * num_spoof): integers, so that ties are exact.
  fpr = curve.accepted_spoof * curve.num_live
  fnr = curve.rejected_live * curve.num_spoof
  gap, total = np.abs(fpr - fnr), fpr + fnr
  far = gap > gap.min(axis=1, keepdims=True)
  total = np.where(far, np.iinfo(np.int64).max, total)
  best = total.min(axis=1)
  # The last of the best columns is the highest threshold.
  column = total.shape[1] - 1 - np.argmin(total[:, ::-1], axis=1)
  return best / (2 * curve.num_live * curve.num_spoof)[:, 0], column


def areas(curve: Curve) -> np.ndarray:
  """The area under each ROC curve by the trapezoidal rule: float64 [B]."""
  spoof = curve.accepted_spoof[:, :-1] - curve.accepted_spoof[:, 1:]
  accepted = curve.num_live - curve.rejected_live
  twice = np.sum(spoof * (accepted[:, :-1] + accepted[:, 1:]), axis=1)
  return twice / (2 * curve.num_live * curve.num_spoof)[:, 0]


def midway(values: np.ndarray, column: int) -> float:
  """A threshold at an operating point other than accept-all."""
  low = float(values[column - 1])
  if column == len(values):
    return low
  high = float(values[column])
  middle = 0.5 * low + 0.5 * high  # (low + high) / 2 could overflow.
  # Between adjacent floats, the mean may round up to the higher one.
  return middle if low <= middle < high else low


def check_threshold(threshold: float) -> float:
  """Returns the threshold; raises ValueError unless it is finite."""
  if not np.isfinite(threshold):
    raise ValueError(f'The threshold is {threshold}; allowed: finite numbers.')
  return threshold


def check_scores(
  scores: np.ndarray, labels: np.ndarray, **columns: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
  """Checks the columns of one split.

  Args:
    scores: floats [N].
    labels: ints [N], 1 live, 0 spoof.
    **columns: further columns [N]; `attack_types` must go with the labels.

  Returns:
    (scores, live): float64 [N] and bool [N], True for live.

  Raises:
    ValueError: for an empty split, unequal lengths, a score that is not
      finite, an unknown label, or an attack type that contradicts its label.
  """
  scores = np.asarray(scores, np.float64)
  labels = np.asarray(labels)
  if scores.ndim != 1 or not len(scores):
    raise ValueError(
      f'scores have shape {scores.shape}; allowed: [N] with N at least 1.'
    )
  for name, column in {'labels': labels, **columns}.items():
    if np.shape(column) != scores.shape:
      raise ValueError(
        f'{name} have shape {np.shape(column)}, scores {scores.shape}; they '
        'must be equal.'
      )
  num_nan, num_inf = int(np.isnan(scores).sum()), int(np.isinf(scores).sum())
  if num_nan + num_inf:
    raise ValueError(
      f'{num_nan + num_inf} of {len(scores)} scores are not finite '
      f'({num_nan} NaN, {num_inf} infinite).'
    )
  unknown = sorted({str(x) for x in labels[(labels != 0) & (labels != 1)]})
  if unknown:
    raise ValueError(
      f'labels hold {", ".join(unknown)}; allowed: 1 (live), 0 (spoof).'
    )
  live = labels == 1
  if 'attack_types' in columns:
    named_live = np.asarray(columns['attack_types'], str) == 'live'
    wrong = np.flatnonzero(named_live != live)
    if len(wrong):
      raise ValueError(
        f'{len(wrong)} of {len(scores)} clips have a label that contradicts '
        f'their attack type; the first is clip {wrong[0]} with label '
        f'{int(live[wrong[0]])} and attack type '
        f'{str(columns["attack_types"][wrong[0]])!r}.'
      )
  return scores, live
