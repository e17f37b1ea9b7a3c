"""Variants of a config: named changes that compose, in any order.

`configs/search.py:debug,type,bf16` applies three variants to the default
config. A config file keeps its variants in groups; those of one group exclude
each other. Variants apply in the order of the groups, not in that of the names,
so a later group can override an earlier one.
"""

from collections.abc import Callable, Mapping, Sequence

import ml_collections

Change = Callable[[ml_collections.ConfigDict], None]
# Name of a group -> name of a variant -> its change.
Groups = Mapping[str, Mapping[str, Change]]


def names(groups: Groups) -> tuple[str, ...]:
  """The names of all variants, in the order of the groups."""
  return tuple(name for group in groups.values() for name in group)


def compose(
  config: ml_collections.ConfigDict,
  text: str,
  groups: Groups,
  *,
  file: str,
  conflicts: Sequence[tuple[str, str]] = (),
) -> ml_collections.ConfigDict:
  """Applies the variants that a text names.

  Args:
    config: changed in place.
    text: names of variants, separated by commas; '' for none.
    groups: the variants of the config file.
    file: name of the config file, for messages.
    conflicts: pairs from different groups that also exclude each other.

  Returns:
    The config.

  Raises:
    ValueError: for an unknown or repeated variant, or two that exclude each
      other.
  """
  known = names(groups)
  chosen = [name.strip() for name in text.split(',')] if text else []
  for place, name in enumerate(chosen):
    if name not in known:
      raise ValueError(_unknown(name, known, file))
    if name in chosen[:place]:
      raise ValueError(f'configs/{file}: the variant {name!r} is named twice.')
  for group, members in groups.items():
    found = [name for name in members if name in chosen]
    if len(found) > 1:
      raise ValueError(
        f'configs/{file}: the variants {found[0]!r} and {found[1]!r} exclude '
        f'each other; choose one {group} of {", ".join(members)}.'
      )
  for one, other in conflicts:
    if one in chosen and other in chosen:
      raise ValueError(
        f'configs/{file}: the variants {one!r} and {other!r} exclude each '
        'other.'
      )
  for members in groups.values():
    for name, change in members.items():
      if name in chosen:
        change(config)
  return config


def _unknown(name: str, known: Sequence[str], file: str) -> str:
  """The message for a variant that a config file does not have."""
  if not known:
    return f'Unknown variant {name!r}: configs/{file} has none.'
  # Old names that stood for two variants.
  head, _, tail = name.partition('_')
  if head in known and tail in known:
    return f"The variant {name!r} of configs/{file} is now '{head},{tail}'."
  if name == 'default':
    return f"configs/{file} has no variant 'default': leave it out."
  return (
    f'Unknown variant {name!r} of configs/{file}; allowed: {", ".join(known)}, '
    'or several, separated by commas.'
  )
