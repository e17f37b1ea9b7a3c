"""The protocol of a user's own videos: the splits of the manifest."""

from nasfas_jax.data.protocols.definition import Protocol, official

PLACE = 20


def protocols() -> list[Protocol]:
  """manifest_fas/official."""
  name = 'manifest_fas'
  headline = ('hter', 'acer', 'auc')
  return [official(f'{name}/official', name, {}, {}, 'session', headline)]
