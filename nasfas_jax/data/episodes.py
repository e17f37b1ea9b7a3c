"""Episodes of the search over tasks: their support and query sets.

A task holds out one domain, one attack type, or one of each. Its query set has
clips of the held-out part, its support set clips of the rest; no subject is in
both. Half of the clips of a set are live: with so few clips, many random sets
would lack a class. An episode has a fixed number of tasks, and the held-out
parts take turns.

Everything is a function of the seed and the step, so that a stream resumes from
one number.
"""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from nasfas_jax import records
from nasfas_jax.data.index import Row, split_halves, subject

HOLD_OUTS = ('domain', 'type', 'domain_type')
# The most gaps that a message lists.
_MAX_LISTED = 6


class _NoTasks(ValueError):
  """Clips that allow no tasks; what else they allow is not yet said."""


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
  """A held-out part, with its two sets on each half of the subjects.

  Attributes:
    domain: the held-out domain; None: no domain is held out. '' is the domain
      of the clips whose domain field is empty.
    attack_type: the held-out attack type; None: none is held out.
    support: row numbers of the support set, for each half of the subjects.
    query: row numbers of the query set, for each half of the subjects.
  """

  domain: str | None
  attack_type: str | None
  support: tuple[np.ndarray, np.ndarray]
  query: tuple[np.ndarray, np.ndarray]


def subject_halves(rows: Sequence[Row], domain_field: str) -> np.ndarray:
  """Assigns every subject to one of two halves: int [len(rows)], 0 or 1.

  Subjects with the same set of (domain, label) pairs go to the halves in turn,
  so that both halves have nearly the same composition.
  """
  traits = collections.defaultdict(set)
  for row in rows:
    traits[subject(row)].add((str(row[domain_field]), row['label']))
  order = sorted(traits, key=lambda name: (sorted(traits[name]), name))
  half = {name: place % 2 for place, name in enumerate(order)}
  return np.array([half[subject(row)] for row in rows])


def make_tasks(
  rows: Sequence[Row], hold_out: str, domain_field: str
) -> list[Task]:
  """All tasks that the clips allow.

  Args:
    rows: the training clips.
    hold_out: what a task holds out, one of `HOLD_OUTS`.
    domain_field: the field that names a clip's domain.

  Returns:
    The tasks, ordered by domain and attack type. With 'domain_type', a pair is
    left out if one of its sets would lack live or spoof clips.

  Raises:
    ValueError: for an unknown `hold_out`, or clips that allow fewer than two
      tasks; says which domain or type lacks which class, and what these clips
      allow instead.
  """
  if hold_out not in HOLD_OUTS:
    raise ValueError(
      f'Unknown hold_out {hold_out!r}; allowed: {", ".join(HOLD_OUTS)}.'
    )
  try:
    return _tasks(rows, hold_out, domain_field)
  except _NoTasks as error:
    raise ValueError(f'{error} {_advice(rows, domain_field)}') from error


def _advice(rows: Sequence[Row], domain_field: str) -> str:
  """Says which searches the clips allow."""
  works = []
  for hold_out in HOLD_OUTS:
    with contextlib.suppress(_NoTasks):
      _tasks(rows, hold_out, domain_field)
      works.append(hold_out)
  with contextlib.suppress(ValueError):
    split_halves(rows)
    works.append('none')
  if not works:
    return (
      'These clips allow no search: live and spoof clips of at least 2 '
      'subjects are needed.'
    )
  variants = ['plain' if name == 'none' else name for name in works]
  return (
    f'With these clips works: --config.search.hold_out={" or ".join(works)} '
    f'(--config=search:{" or :".join(variants)}).'
  )


def _tasks(rows: Sequence[Row], hold_out: str, domain_field: str) -> list[Task]:
  """As `make_tasks`; raises _NoTasks."""
  domains = np.array([str(row[domain_field]) for row in rows])
  types = np.array([str(row['attack_type']) for row in rows])
  live = np.array([row['label'] == records.LIVE for row in rows])
  halves = subject_halves(rows, domain_field)
  all_domains = sorted(set(domains.tolist()))
  all_types = sorted(set(types[~live].tolist()))
  _check_enough(hold_out, all_domains, all_types, domain_field)
  pairs = {
    'domain': [(domain, None) for domain in all_domains],
    'type': [(None, kind) for kind in all_types],
    'domain_type': [(d, kind) for d in all_domains for kind in all_types],
  }[hold_out]
  tasks = []
  for domain, kind in pairs:
    support = np.ones(len(rows), bool)
    query = support.copy()
    if domain is not None:
      support = domains != domain
      query = ~support
    if kind is not None:
      support &= types != kind
      query &= live | (types == kind)
    sets = [
      tuple(np.flatnonzero(part & (halves == half)) for half in (0, 1))
      for part in (support, query)
    ]
    if all(len(set(live[part])) == 2 for parts in sets for part in parts):
      tasks.append(Task(domain, kind, *sets))
    elif hold_out != 'domain_type':
      held = kind if domain is None else domain
      raise _NoTasks(
        f'The task that holds out {held!r} needs live and spoof clips of '
        'each half of the subjects in both of its sets; '
        f'{_gaps(domains, live, sets)}.'
      )
  if len(tasks) < 2:
    raise _NoTasks(
      f'The clips allow {len(tasks)} tasks of {hold_out!r}; at least 2 are '
      f'needed. {_classes(domains, types, live)}'
    )
  return tasks


def _gaps(
  domains: np.ndarray,
  live: np.ndarray,
  sets: Sequence[tuple[np.ndarray, np.ndarray]],
) -> str:
  """What the sets of a task lack."""
  found = []
  for name, parts in zip(('support', 'query'), sets, strict=True):
    here = sorted(set(domains[np.concatenate(parts)].tolist()))
    text = ', '.join(map(repr, here)) or 'none'
    for label, kind in ((True, 'live'), (False, 'spoof')):
      halves = [bool((live[part] == label).any()) for part in parts]
      if not all(halves):
        where = ' in one half of the subjects' if any(halves) else ''
        found.append(
          f'its {name} set (domains {text}) has no {kind} clips{where}'
        )
  return ', '.join(found)


def _classes(domains: np.ndarray, types: np.ndarray, live: np.ndarray) -> str:
  """Which domains lack a class or a type."""
  found = []
  for domain in sorted(set(domains.tolist())):
    here = domains == domain
    missing = [
      *([] if live[here].any() else ['live']),
      *sorted(set(types[~live].tolist()) - set(types[here].tolist())),
    ]
    if missing:
      found.append(f'{domain!r} has no {", ".join(missing)}')
  if not found:
    return 'Each half of the subjects needs clips of every domain and type.'
  shown = '; '.join(found[:_MAX_LISTED])
  more = len(found) - _MAX_LISTED
  return f'Of the domains, {shown}{f"; and {more} more" if more > 0 else ""}.'


def count_domains(tasks: Sequence[Task], domains: np.ndarray) -> dict[str, int]:
  """The number of domains of a 'support' and of a 'query' set.

  Args:
    tasks: see `make_tasks`.
    domains: the domain of every row.

  Raises:
    ValueError: if it differs between tasks.
  """
  found = {}
  for name in ('support', 'query'):
    counts = {
      len(set(domains[part].tolist()))
      for task in tasks
      for part in getattr(task, name)
    }
    if len(counts) > 1:
      raise ValueError(
        f'The {name} sets of the tasks have {sorted(counts)} domains; '
        'config.meta.domain_statistics needs the same number in all.'
      )
    found[name] = counts.pop()
  return found


def _check_enough(hold_out, domains, types, domain_field):
  if 'domain' in hold_out and len(domains) < 2:
    raise _NoTasks(
      f'Tasks over domains need at least 2 domains; the training clips have '
      f'{len(domains)} ({", ".join(map(repr, domains))} in the field '
      f'{domain_field!r}).'
    )
  if 'type' in hold_out and len(types) < 2:
    raise _NoTasks(
      f'Tasks over attack types need at least 2 types; the training clips '
      f'have {len(types)} ({", ".join(types)}).'
    )


# Compared by identity: it holds arrays.
@dataclasses.dataclass(frozen=True, eq=False)
class Episodes:
  """A stream of episodes: `episode(step)` is a pure function.

  Attributes:
    tasks: see `make_tasks`.
    num_tasks: tasks per episode.
    support_size: clips of a task's support set.
    query_size: clips of a task's query set.
    seed: same seed, same stream.
    live: bool [rows], whether a row is a live clip. Half of a set is live; of
      an odd number, one more or one less at random.
    domains: str [rows], the domain of every row. Each domain then has the same
      number of clips in a set; the clips are ordered by domain, and half of a
      domain's clips are live if it has both classes. None: domains are not
      balanced.
  """

  tasks: tuple[Task, ...]
  num_tasks: int
  support_size: int
  query_size: int
  seed: int
  live: np.ndarray
  domains: np.ndarray | None = None

  @property
  def size(self) -> int:
    """Clips per episode."""
    return self.num_tasks * (self.support_size + self.query_size)

  def held_out(self, step: int) -> list[Task]:
    """The tasks of an episode; they take turns, in a new order each round."""
    places = range(step * self.num_tasks, (step + 1) * self.num_tasks)
    total = len(self.tasks)
    return [
      self.tasks[self._permutation(place // total)[place % total]]
      for place in places
    ]

  def _permutation(self, turn: int) -> np.ndarray:
    rng = np.random.default_rng((self.seed, 0, turn))
    return rng.permutation(len(self.tasks))

  def episode(self, step: int) -> np.ndarray:
    """Row numbers of an episode: int [num_tasks, support_size + query_size].

    At every step the two halves of the subjects swap roles.
    """
    chosen = []
    for place, task in enumerate(self.held_out(step)):
      rng = np.random.default_rng((self.seed, 1, step, place))
      half = (step + place) % 2
      chosen.append(
        np.concatenate(
          [
            self._draw(task.support[half], self.support_size, rng),
            self._draw(task.query[1 - half], self.query_size, rng),
          ]
        )
      )
    return np.stack(chosen)

  def _draw(self, pool, size, rng) -> np.ndarray:
    parts = [pool]
    if self.domains is not None:
      parts = [
        pool[self.domains[pool] == name]
        for name in sorted(set(self.domains[pool].tolist()))
      ]
    share = size // len(parts)
    odd = rng.integers(2)
    drawn = []
    for place, part in enumerate(parts):
      classes = part[self.live[part]], part[~self.live[part]]
      if all(map(len, classes)):
        # If the share is odd, the odd clip is live in every second domain.
        number = (share + (odd + place) % 2) // 2
        drawn += [
          _draw(clips, count, rng)
          for clips, count in zip(
            classes, (number, share - number), strict=True
          )
        ]
      else:
        drawn.append(_draw(part, share, rng))
    return np.concatenate(drawn)

  def row(self, place: int) -> int:
    """The row number at a place of the endless flat stream of clips."""
    step, within = divmod(place, self.size)
    return int(_episode(self, step).reshape(-1)[within])


@functools.lru_cache(maxsize=64)
def _episode(episodes: Episodes, step: int) -> np.ndarray:
  return episodes.episode(step)


def _draw(pool: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
  """Draws `size` of the pool; none repeats unless the pool is too small."""
  if not size:
    return pool[:0]
  rounds = [rng.permutation(pool) for _ in range(-(-size // len(pool)))]
  return np.concatenate(rounds)[:size]
