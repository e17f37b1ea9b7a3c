"""Protocols: which clips train, which set the threshold, which are tested.

A protocol is three predicates over the metadata of clips (`definition`). Each
dataset folder defines its own (`found`); protocols over several datasets are in
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
