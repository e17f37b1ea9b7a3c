"""One error rate where the other is held at a limit, and the DET curve.

ISO/IEC 30107-3 asks for BPCER at a fixed APCER, where APCER is that of the
worst attack type. The rate with all attacks as one type ('pooled') is beside
it, since much of the literature prints that one.

Nothing is interpolated: a threshold exists for every rate. These rates are
those of the clips that they were read off, with the threshold free to move; the
rates at the threshold in use are in `rates.summarise`.
"""

from collections.abc import Sequence

import numpy as np

from nasfas_jax.metrics import operating_points

LIMITS = (0.01, 0.05, 0.1)
# How the attack types count.
POOLINGS = ('worst', 'pooled')
NAMES = ('bpcer_at_apcer', 'apcer_at_bpcer')


def worst_apcer(
  scores: np.ndarray,
  live: np.ndarray,
  attack_types: np.ndarray,
  weights: np.ndarray,
) -> np.ndarray:
  """APCER of the worst attack type at every operating point.

  Args:
    scores: float64 [N].
    live: bool [N], at least one False.
    attack_types: strings [N].
    weights: int64 [B, N], how often each clip counts.

  Returns:
    float64 [B, M + 1], in the columns of `operating_points.Curve`. An attack
    type without clips in a row of weights does not count in that row.
  """
  worst = None
  for kind in np.unique(attack_types[~live]):
    of_type = attack_types == kind
    counts = operating_points.count_errors(scores, ~of_type, weights)
    rates = counts.accepted_spoof / np.maximum(counts.num_spoof, 1)
    worst = rates if worst is None else np.maximum(worst, rates)
  return worst


def bpcer_points(
  apcer: np.ndarray, curve: operating_points.Curve, limit: float
) -> np.ndarray:
  """The lowest BPCER at which APCER is at most `limit`: float64 [B].

  Args:
    apcer: float64 [B, M + 1], falling along the columns to 0.
    curve: of the same clips.
    limit: of APCER, in [0, 1].
  """
  column = np.argmax(apcer <= limit, axis=1)
  rejected = np.take_along_axis(curve.rejected_live, column[:, None], axis=1)
  return (rejected / curve.num_live)[:, 0]


def apcer_points(
  apcer: np.ndarray, curve: operating_points.Curve, limit: float
) -> np.ndarray:
  """The lowest APCER at which BPCER is at most `limit`: float64 [B].

  Args:
    apcer: float64 [B, M + 1], falling along the columns.
    curve: of the same clips.
    limit: of BPCER, in [0, 1].
  """
  bpcer = curve.rejected_live / curve.num_live
  # BPCER rises from 0, so the last column within the limit is this one.
  column = np.sum(bpcer <= limit, axis=1) - 1
  return np.take_along_axis(apcer, column[:, None], axis=1)[:, 0]


def at_fixed_rates(
  scores: np.ndarray,
  labels: np.ndarray,
  attack_types: Sequence[str],
  *,
  limits: Sequence[float] = LIMITS,
) -> dict[str, dict[str, dict[str, float | None]]]:
  """BPCER at fixed APCER, and APCER at fixed BPCER.

  Args:
    scores: floats [N].
    labels: ints [N], 1 live, 0 spoof.
    attack_types: strings [N], 'live' for live clips and only for them.
    limits: of the rate that is fixed, each in [0, 1].

  Returns:
    'bpcer_at_apcer' and 'apcer_at_bpcer': limit, as text -> 'worst' (the worst
    attack type) and 'pooled' (all attacks as one type) -> rate; None if a class
    is missing.
  """
  scores, live = operating_points.check_scores(
    scores, labels, attack_types=attack_types
  )
  for limit in limits:
    if not 0 <= limit <= 1:
      raise ValueError(f'A limit of a rate is {limit!r}; allowed: 0 to 1.')
  found = {
    name: {f'{limit:g}': dict.fromkeys(POOLINGS) for limit in limits}
    for name in NAMES
  }
  if live.all() or not live.any():
    return found
  weights = np.ones((1, len(scores)), np.int64)
  curve = operating_points.count_errors(scores, live, weights)
  types = np.asarray(attack_types, str)
  points = all_points(scores, live, types, weights, curve, limits)
  for (name, limit, pooling), values in points.items():
    found[name][limit][pooling] = float(values[0])
  return found


def all_points(
  scores: np.ndarray,
  live: np.ndarray,
  attack_types: np.ndarray,
  weights: np.ndarray,
  curve: operating_points.Curve,
  limits: Sequence[float] = LIMITS,
) -> dict[tuple[str, str, str], np.ndarray]:
  """All fixed rates of repeated clips; for arguments see `worst_apcer`.

  Returns:
    (name, limit, pooling) -> float64 [B].
  """
  found = {}
  for pooling in POOLINGS:
    if pooling == 'worst':
      apcer = worst_apcer(scores, live, attack_types, weights)
    else:
      apcer = curve.accepted_spoof / curve.num_spoof
    for limit in limits:
      text = f'{limit:g}'
      found[NAMES[0], text, pooling] = bpcer_points(apcer, curve, limit)
      found[NAMES[1], text, pooling] = apcer_points(apcer, curve, limit)
  return found


def det(
  scores: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
  """The detection error trade-off: both error rates at every threshold.

  Args:
    scores: floats [N].
    labels: ints [N], 1 live, 0 spoof.

  Returns:
    (APCER, BPCER), float64 [M + 1] each, from (1, 0), which accepts all, to
    (0, 1). The attacks are one type. None if a class is missing.
  """
  scores, live = operating_points.check_scores(scores, labels)
  if live.all() or not live.any():
    return None
  curve = operating_points.count_errors(
    scores, live, np.ones((1, len(scores)), np.int64)
  )
  return (
    (curve.accepted_spoof / curve.num_spoof)[0],
    (curve.rejected_live / curve.num_live)[0],
  )
