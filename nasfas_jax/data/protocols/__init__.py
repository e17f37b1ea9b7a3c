"""Protocols: which clips train, which set the threshold, which test.

A protocol is three predicates over the metadata of clips (`definition`). Every
dataset's folder brings its own (`found`); those over several datasets are in
`cross_dataset`.
"""

from nasfas_jax.data.protocols.found import all_protocols, published
from nasfas_jax.data.protocols.selection import (
  Selection,
  get_protocol,
  load,
  select,
)

__all__ = (
  'Selection',
  'all_protocols',
  'get_protocol',
  'load',
  'published',
  'select',
)
