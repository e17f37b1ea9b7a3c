"""Error rates of one split: those of ISO/IEC 30107-3, HTER, EER and AUC."""

from collections.abc import Sequence

import numpy as np

from nasfas_jax.metrics import fixed_rates, operating_points

# Shares of attacks among all clips, for the error that a user would see.
ATTACK_SHARES = (0.01, 0.1, 0.5)


def eer(
  scores: np.ndarray, labels: np.ndarray
) -> tuple[float | None, float | None]:
  """The equal error rate and its threshold.

  FPR falls and FNR rises in steps, so they need not meet. The operating point
  is the one with the smallest |FPR - FNR|. Of two that are equally close, it is
  the one with the smaller FPR + FNR; if that ties too, the one with the higher
  threshold, which accepts fewer attacks. The rate is the mean of FPR and FNR
  there. The threshold is midway between the two adjacent scores. If all scores
  are the same, it is that score, and the rate is 0.5.

  Args:
    scores: floats [N].
    labels: ints [N], 1 live, 0 spoof.

  Returns:
    (rate, threshold), or (None, None) if a class is missing.
  """
  scores, live = operating_points.check_scores(scores, labels)
  if live.all() or not live.any():
    return None, None
  curve = operating_points.count_errors(
    scores, live, np.ones((1, len(scores)), np.int64)
  )
  rates, points = operating_points.eer_points(curve)
  return float(rates[0]), operating_points.midway(curve.values, int(points[0]))


def eer_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
  """The threshold at the equal error rate of a dev split.

  Args:
    scores: floats [N] of the dev split, never of the split to be evaluated.
    labels: ints [N], 1 live, 0 spoof.

  Raises:
    ValueError: if the split lacks a class.
  """
  threshold = eer(scores, labels)[1]
  if threshold is None:
    num_live = int(np.sum(np.asarray(labels) == 1))
    raise ValueError(
      'A threshold needs live and spoof clips; the split has '
      f'{num_live} live and {len(labels) - num_live} spoof.'
    )
  return threshold


def apcer_by_type(
  scores: np.ndarray,
  labels: np.ndarray,
  attack_types: Sequence[str],
  threshold: float,
) -> dict[str, float]:
  """APCER of each attack type: the share of its clips accepted as live.

  Args:
    scores: floats [N].
    labels: ints [N], 1 live, 0 spoof.
    attack_types: strings [N], 'live' for live clips and only for them.
    threshold: live if score > threshold.

  Returns:
    Attack type -> rate in [0, 1], in alphabetical order; {} without spoofs.
  """
  scores, live = operating_points.check_scores(
    scores, labels, attack_types=attack_types
  )
  accepted = scores > operating_points.check_threshold(threshold)
  attack_types = np.asarray(attack_types, str)
  return {
    str(name): float(np.mean(accepted[attack_types == name]))
    for name in np.unique(attack_types[~live])
  }


def bpcer(
  scores: np.ndarray, labels: np.ndarray, threshold: float
) -> float | None:
  """BPCER: the share of live clips rejected; None without live clips."""
  scores, live = operating_points.check_scores(scores, labels)
  return _mean(scores[live] <= operating_points.check_threshold(threshold))


def roc(
  scores: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
  """The ROC curve, with a point for every distinct score.

  Args:
    scores: floats [N].
    labels: ints [N], 1 live, 0 spoof.

  Returns:
    (fpr, tpr, thresholds), float64 [M + 1] each, from (0, 0) at the highest
    score to (1, 1) at -inf. Tied scores make one point. None if a class is
    missing.
  """
  scores, live = operating_points.check_scores(scores, labels)
  if live.all() or not live.any():
    return None
  curve = operating_points.count_errors(
    scores, live, np.ones((1, len(scores)), np.int64)
  )
  fpr = (curve.accepted_spoof / curve.num_spoof)[0, ::-1]
  tpr = ((curve.num_live - curve.rejected_live) / curve.num_live)[0, ::-1]
  return fpr, tpr, np.append(curve.values[::-1], -np.inf)


def auc(scores: np.ndarray, labels: np.ndarray) -> float | None:
  """The area under the ROC curve, P(live > spoof score) + 0.5 P(equal scores).

  Args:
    scores: floats [N].
    labels: ints [N], 1 live, 0 spoof.

  Returns:
    A rate in [0, 1], or None if a class is missing.
  """
  scores, live = operating_points.check_scores(scores, labels)
  if live.all() or not live.any():
    return None
  curve = operating_points.count_errors(
    scores, live, np.ones((1, len(scores)), np.int64)
  )
  return float(operating_points.areas(curve)[0])


def tpr_at_fpr(
  scores: np.ndarray, labels: np.ndarray, fpr: float
) -> float | None:
  """The highest TPR of all operating points whose FPR is at most `fpr`.

  Nothing is interpolated, so that a threshold exists for the rate. If `fpr` is
  below 1 / num_spoof, no attack may be accepted.

  Args:
    scores: floats [N].
    labels: ints [N], 1 live, 0 spoof.
    fpr: the largest allowed FPR, in [0, 1].

  Returns:
    A rate in [0, 1], or None if a class is missing.
  """
  if not 0 <= fpr <= 1:
    raise ValueError(f'fpr is {fpr!r}; allowed: 0 to 1.')
  curve = roc(scores, labels)
  if curve is None:
    return None
  return float(np.max(curve[1][curve[0] <= fpr]))


def summarise(
  scores: np.ndarray,
  labels: np.ndarray,
  attack_types: Sequence[str],
  threshold: float,
  *,
  fprs: Sequence[float] = (0.1, 0.01, 0.001),
) -> dict[str, object]:
  """All metrics of one split, at a given threshold.

  Args:
    scores: floats [N].
    labels: ints [N], 1 live, 0 spoof.
    attack_types: strings [N], 'live' for live clips and only for them.
    threshold: live if score > threshold; from the dev split.
    fprs: the FPRs of `tpr_at_fpr`.

  Returns:
    A dict ready for JSON. `apcer_max` is the APCER of ISO/IEC 30107-3, that of
    the worst attack type, and `acer` is its mean with `bpcer`. `apcer_pooled`
    takes all attacks as one type; its mean with `bpcer` is `acer_pooled`, also
    called `hter`. `error_at_share` is the share of wrong decisions where the
    given share of clips are attacks, of all types as in this split. `eer`,
    `auc`, `tpr_at_fpr` and the rates of `fixed_rates.at_fixed_rates`
    (`bpcer_at_apcer`, `apcer_at_bpcer`) do not depend on the threshold. A
    metric is None if a class that it needs is missing.
  """
  by_type = apcer_by_type(scores, labels, attack_types, threshold)
  checked, live = operating_points.check_scores(scores, labels)
  accepted = checked > threshold
  apcer_max = max(by_type.values(), default=None)
  apcer_pooled = _mean(accepted[~live])
  rejected = bpcer(scores, labels, threshold)
  pooled = _half_sum(apcer_pooled, rejected)
  return {
    'num_live': int(live.sum()),
    'num_spoof': int((~live).sum()),
    'threshold': float(threshold),
    'apcer_by_type': by_type,
    'apcer_max': apcer_max,
    'apcer_pooled': apcer_pooled,
    'bpcer': rejected,
    'acer': _half_sum(apcer_max, rejected),
    'acer_pooled': pooled,
    'hter': pooled,
    'accuracy': _mean(accepted == live),
    'eer': eer(scores, labels)[0],
    'auc': auc(scores, labels),
    'error_at_share': {
      f'{share:g}': None
      if pooled is None
      else share * apcer_pooled + (1 - share) * rejected
      for share in ATTACK_SHARES
    },
    'tpr_at_fpr': {f'{x:g}': tpr_at_fpr(scores, labels, x) for x in fprs},
    **fixed_rates.at_fixed_rates(scores, labels, attack_types),
  }


def _mean(errors: np.ndarray) -> float | None:
  return float(np.mean(errors)) if len(errors) else None


def _half_sum(first: float | None, second: float | None) -> float | None:
  return None if first is None or second is None else (first + second) / 2
