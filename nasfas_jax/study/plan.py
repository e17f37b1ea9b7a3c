"""Which runs a study has: plain values in, jobs out.

A run is named PROTOCOL/ROW/seedN, the protocol without its dataset. A row is a
line of the study's tables.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nasfas_jax import run_config
from nasfas_jax.study.jobs import Job

# Fields of a run's config with their values, nested as in the config.
Fields = Mapping[str, Any]

# The network on which the inputs are compared, and a row of every table.
CARRIER = 'cdcnpp'
RANDOM = 'random'


@dataclasses.dataclass(frozen=True)
class Evolution:
  """An evolution and its budget.

  Attributes:
    variants: of configs/search.py.
    fields: what it sets after the fields of every search.
  """

  variants: str
  fields: Fields


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a study compares.

  Attributes:
    protocols: by their whole names. The first is that of the random genotypes,
      the evolutions and the remedies.
    seeds: of every row but the random genotypes.
    searches: variants of configs/search.py, each a row on every protocol.
    evolutions: those that are run, by their row.
    num_random: genotypes at random, each trained once, from its own seed.
    fusions: inputs, compared on CDCN++.
    fusion_protocols: where they are compared.
    fusion: the input of everything else, and of CDCN++ beside the searches.
    remedies: changes of the domain-aware search, by name, in the order of the
      tables.
    chosen_remedies: names of those that are run.
    search_fields: of every search.
    fields: of every run.
    data_dir: folder of the datasets; '' is the default one.
  """

  protocols: Sequence[str]
  seeds: Sequence[int]
  searches: Sequence[str]
  evolutions: Mapping[str, Evolution]
  num_random: int
  fusions: Sequence[str]
  fusion_protocols: Sequence[str]
  fusion: str
  remedies: Mapping[str, Fields]
  chosen_remedies: Sequence[str]
  search_fields: Fields
  fields: Fields
  data_dir: str


def short(protocol: str) -> str:
  """A protocol's name without the dataset, as in the names of runs."""
  return protocol.partition('/')[2]


def run_name(protocol: str, row: str, seed: int) -> str:
  """The name of a run; the protocol may be short already."""
  return f'{protocol}/{row}/seed{seed}'


def seed_of(name: str) -> int:
  """The seed of a run, from its name."""
  return int(name.rpartition('/seed')[2])


def carrier_row(fusion: str) -> str:
  """The row of CDCN++ on an input."""
  return f'{CARRIER}_{fusion}'


def remedy_row(name: str) -> str:
  """The row of the domain-aware search with a remedy."""
  return f'domain_{name}'


def jobs_of(plan: Plan) -> list[Job]:
  """All runs, in the order in which they are begun."""

  def turn(entry):
    stage, job = entry
    seed = seed_of(job.name)
    # The random ones are spread over about as many seeds as the others have.
    return stage, seed * 5 / plan.num_random if _is_random(job) else seed

  listed = {}
  for _, job in sorted(_staged(plan), key=turn):
    # CDCN++ on the default input serves two tables.
    listed.setdefault(job.name, job)
  return list(listed.values())


def _is_random(job: Job) -> bool:
  return f'/{RANDOM}/' in job.name


def to_flags(*overrides: Fields) -> tuple[str, ...]:
  """The arguments that set fields of a run's config.

  Args:
    *overrides: of a field that several set, the last one counts.
  """
  values = {}
  for fields in overrides:
    values |= run_config.flatten(fields)
  return tuple(f'--config.{name}={value}' for name, value in values.items())


def _staged(plan: Plan) -> Iterator[tuple[int, Job]]:
  """(stage, run): the searches before the inputs before the remedies."""

  def job(config_name, protocol, row, seed, *overrides):
    flags = to_flags(
      *overrides,
      {'protocol': protocol, 'seed': seed},
      plan.fields,
      {'data': {'data_dir': plan.data_dir}},
    )
    name = run_name(short(protocol), row, seed)
    return Job(name, (f'--config={config_name}', *flags))

  def searched(protocol, row, seed, variants, changes=None):
    fields = (plan.search_fields, changes or {})
    return job(f'search:{variants}', protocol, row, seed, *fields)

  def carrier(protocol, seed, fusion):
    fields = {'model': CARRIER, 'input': {'fusion': fusion}}
    return job('train', protocol, carrier_row(fusion), seed, fields)

  first = plan.protocols[0]
  for seed in plan.seeds:
    for protocol in plan.protocols:
      for row in plan.searches:
        yield 0, searched(protocol, row, seed, row)
    for row, evolution in plan.evolutions.items():
      yield (
        0,
        searched(first, row, seed, evolution.variants, evolution.fields),
      )
    for fusion in plan.fusions:
      for protocol in plan.fusion_protocols:
        yield 1, carrier(protocol, seed, fusion)
    for protocol in plan.protocols:
      yield 0, carrier(protocol, seed, plan.fusion)
    for name in plan.chosen_remedies:
      changes = plan.remedies[name]
      yield 2, searched(first, remedy_row(name), seed, 'domain', changes)
  for seed in range(plan.num_random):
    yield 0, searched(first, RANDOM, seed, RANDOM)
