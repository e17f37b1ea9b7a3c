"""Metrics of presentation attack detection, after ISO/IEC 30107-3.

Labels are 1 for live (bona fide) and 0 for spoof (attack). A higher score is
more evidence for live, and a clip is accepted as live if score > threshold. FPR
is the share of spoofs accepted, TPR the share of live clips accepted.

Every function checks its input and raises ValueError for an empty split, a
score that is not finite, lengths that differ, a label other than 0 and 1, or an
attack type that contradicts its label. If the split lacks a class that a metric
needs, the metric is None. All results are plain Python values.
"""

from nasfas_jax.metrics.bootstrap import bootstrap_intervals
from nasfas_jax.metrics.fixed_rates import at_fixed_rates, det
from nasfas_jax.metrics.over_seeds import FIGURES as OVER_SEEDS
from nasfas_jax.metrics.over_seeds import over_seeds
from nasfas_jax.metrics.rates import (
  apcer_by_type,
  auc,
  bpcer,
  eer,
  eer_threshold,
  roc,
  summarise,
  tpr_at_fpr,
)

__all__ = [
  'OVER_SEEDS',
  'apcer_by_type',
  'at_fixed_rates',
  'auc',
  'bootstrap_intervals',
  'bpcer',
  'det',
  'eer',
  'eer_threshold',
  'over_seeds',
  'roc',
  'summarise',
  'tpr_at_fpr',
]
