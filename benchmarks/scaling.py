"""What a step of the published setting costs on many chips: an estimate.

python -m benchmarks.scaling [--clips=N] [--latency_us=L] [--json=FILE]

Nothing is compiled or run, and no accelerator is needed. The work of a step is
XLA's cost analysis of the program that is lowered for a TPU, with all edges of
a supernet side by side: the analysis would count a loop over them once. Speeds
are those that the makers publish. Assumed, for each chip with the same number
of clips:

- Arithmetic runs at the published peak for bfloat16, and memory at its
  published speed; a step takes the longer of the two. Memory traffic is what
  convolutions read and write. No real step reaches these limits, so real chips
  compute longer, and scale better than the table says.
- All chips add up their gradients (float32) once a step, nothing overlaps it.
- Each batch normalization adds up its statistics over all chips once on the way
  forward and once back: few bytes, so each takes the latency, which is assumed
  (--latency_us), not published.
- Reading and decoding clips keep up.
"""

import dataclasses
import math

import jax
from absl import app, flags

from benchmarks import lowered
from nasfas_configs import search as search_config
from nasfas_jax import files

CHIPS = (8, 64, 256)


@dataclasses.dataclass(frozen=True)
class Machine:
  """Published speeds of a chip and of its links.

  Attributes:
    name: of the chip.
    flops: multiplications and additions in bfloat16 a second, dense.
    memory: bytes a second.
    link: bytes a second that a chip sends to those near it.
    island: number of chips that are near each other.
    network: bytes a second that a chip sends beyond its island.
    source: where that is published.
  """

  name: str
  flops: float
  memory: float
  link: float
  island: int
  network: float
  source: str


MACHINES = (
  # The link's published speed counts both directions.
  Machine(
    name='TPU v5e',
    flops=197e12,
    memory=819e9,
    link=200e9,
    island=256,
    network=3.125e9,
    source='docs.cloud.google.com/tpu/docs/v5e',
  ),
  Machine(
    name='H100 SXM',
    flops=989e12,
    memory=3.35e12,
    link=450e9,
    island=8,
    network=50e9,
    source='nvidia.com/en-us/data-center/h100, nvidia.com/en-us/data-center/'
    'dgx-h100',
  ),
)


@dataclasses.dataclass(frozen=True)
class Work:
  """What a step does on each chip.

  Attributes:
    flops: multiplications and additions.
    traffic: bytes that convolutions read and write.
    sent: bytes that all chips add up.
    waits: number of times that all chips add up a few bytes.
  """

  flops: float
  traffic: float
  sent: float
  waits: int


@dataclasses.dataclass(frozen=True)
class Estimate:
  """Seconds of a step, and the part of it in which chips compute."""

  compute: float
  gradients: float
  statistics: float

  @property
  def step(self) -> float:
    return self.compute + self.gradients + self.statistics

  @property
  def efficiency(self) -> float:
    """1 if many chips do as much each as one alone."""
    return self.compute / self.step


def all_reduce_seconds(machine: Machine, size: float, chips: int) -> float:
  """Seconds to add up `size` bytes over chips, in rings within and between.

  In a ring of n each chip sends 2 (n - 1) / n of the bytes. Between islands,
  each chip of one has its own part of them.
  """
  inside = min(chips, machine.island)
  islands = math.ceil(chips / machine.island)
  seconds = 2 * size * (inside - 1) / inside / machine.link
  return seconds + (
    2 * size / inside * (islands - 1) / islands / machine.network
  )


def estimate(
  machine: Machine, work: Work, chips: int, latency: float
) -> Estimate:
  """The step of a machine on that many chips."""
  waits = work.waits if chips > 1 else 0
  return Estimate(
    compute=max(work.flops / machine.flops, work.traffic / machine.memory),
    gradients=all_reduce_seconds(machine, work.sent, chips),
    statistics=waits * latency,
  )


def _bytes(tree) -> int:
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _work(case: lowered.Case, passes: int, times: int = 1) -> Work:
  """The work of a step that is `times` a lowered program.

  Args:
    case: its first argument is the state.
    passes: forward and back through the network, in the program.
    times: see above.
  """
  state = case.args[0]
  layers = len(jax.tree.leaves(state.batch_stats)) // 2
  return Work(
    flops=times * case.lower('tpu').cost_analysis()['flops'],
    traffic=times * lowered.convolution_bytes(case.function, *case.args),
    sent=times * passes * _bytes(state.params),
    waits=2 * times * passes * layers,
  )


def steps(clips: int, variant: str = 'paper,bf16') -> dict[str, Work]:
  """The steps of the published sizes, with that many clips a chip."""
  config = search_config.get_config(variant)
  # One chip has one task, and its clips are the support set or the query set.
  tasks = search_config.get_config(f'{variant},domain')
  for one in (config, tasks):
    one.supernet.edge_loop = False
  tasks.meta.num_tasks = 1
  tasks.meta.support_size = clips
  searching = lowered.search_steps(config, clips)
  return {
    'training': _work(lowered.training(config, clips), 1),
    'plain search, weights': _work(searching['weight step'], 1),
    # The gradients of the support sets and of the query sets.
    'search over tasks': _work(lowered.set_gradients(tasks), 1, times=2),
  }


def table(works: dict[str, Work], clips: int, latency: float) -> list[dict]:
  """A row for each machine, step and number of chips; times in ms."""
  rows = []
  for machine in MACHINES:
    for name, work in works.items():
      for chips in (1, *CHIPS):
        found = estimate(machine, work, chips, latency)
        rows.append(
          {
            'machine': machine.name,
            'step': name,
            'chips': chips,
            'clips': chips * clips,
            'compute_ms': 1e3 * found.compute,
            'gradients_ms': 1e3 * found.gradients,
            'statistics_ms': 1e3 * found.statistics,
            'clips_per_second': chips * clips / found.step,
            'efficiency': found.efficiency,
          }
        )
  return rows


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  values = flags.FLAGS
  works = steps(values.clips)
  for name, work in works.items():
    print(
      f'{name}: {work.flops / 1e9:.0f} GFLOP and {work.traffic / 2**30:.2f} '
      f'GiB on each chip, {work.sent / 2**20:.1f} MiB added up, '
      f'{work.waits} waits'
    )
  print(
    '| chip | step | chips | clips | compute | gradients | statistics '
    '| clips/s | efficiency |'
  )
  print('|---|---|---|---|---|---|---|---|---|')
  rows = table(works, values.clips, values.latency_us * 1e-6)
  for row in rows:
    print(
      f'| {row["machine"]} | {row["step"]} | {row["chips"]} | {row["clips"]} '
      f'| {row["compute_ms"]:.2f} ms | {row["gradients_ms"]:.2f} ms '
      f'| {row["statistics_ms"]:.2f} ms | {row["clips_per_second"]:.0f} '
      f'| {row["efficiency"]:.2f} |'
    )
  if values.json:
    files.write_json(values.json, rows)


if __name__ == '__main__':
  flags.DEFINE_integer('clips', 4, 'Clips of a step on each chip.', 1)
  flags.DEFINE_float(
    'latency_us', 10.0, 'Assumed latency of adding up over all chips, in µs.', 0
  )
  flags.DEFINE_string('json', '', 'File to write; "" writes none.')
  app.run(main)
