"""A run on a program that compiles in no time, as a process to be killed.

  python counting_run.py WORKDIR [--steps=N] [--kib=N]

A search and a training by the real loop, with the real checkpoints, metrics and
files of a run; only the network is replaced, by a few products of a matrix. It
ends as the main module does: 0, 2 with one line, or 75 after SIGTERM.

  python counting_run.py --serve

reads such arguments from stdin, a JSON list a line, and runs each in a child of
its own, so that the imports are paid once. It prints the child's id and, when
that has ended, its status.
"""

import argparse
import json
import os
import pathlib
import sys

import jax
import jax.numpy as jnp
import ml_collections

from nasfas_jax import checkpoints, files, loop, run_log, stopping
from nasfas_jax.data import protocols
from nasfas_jax.states import TrainState

PHASES = ('search', 'train')


def selection():
  """Clips that data.json can name; none is read."""
  rows = [
    {
      'folder': '/somewhere/synthetic_fas/tiny/1.0.0',
      'dataset': 'synthetic_fas',
      'clip_id': f'clip-{label}',
      'label': label,
      'split': 'train',
      'subject': str(label),
    }
    for label in (0, 1)
  ]
  return protocols.Selection(rows, rows, rows, 'dev')


def program(name: str, num_steps: int, kib: int) -> loop.Program:
  """A chaotic map: one bit of a state changes all later ones."""
  size = 16

  def batches(start):
    number = start
    while True:
      number += 1
      key = jax.random.fold_in(jax.random.key(PHASES.index(name)), number)
      yield jax.random.normal(key, (size, size))

  def step(state, batch):
    mixed = jnp.sin(state.params['w'] @ state.params['w'].T + batch)
    loss = jnp.mean(jnp.square(mixed))
    state = state.replace(
      step=state.step + 1,
      params={'w': mixed, 'ballast': state.params['ballast'] + loss},
      opt_state=0.9 * state.opt_state + loss,
    )
    return state, {'train_loss': loss}

  return loop.Program(
    name=name,
    title=name,
    num_steps=num_steps,
    state=TrainState(
      step=jnp.int32(0),
      params={
        'w': jnp.eye(size),
        # What makes a checkpoint large.
        'ballast': jax.random.normal(jax.random.key(7), (kib, 256)),
      },
      batch_stats={},
      opt_state=jnp.float32(0),
      skipped=jnp.int32(0),
    ),
    compile=lambda state, batch: (
      jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    ),
    batches=batches,
    observe=lambda state, scalars, done: loop.Observed(
      {'train_loss': float(scalars['train_loss'])}
    ),
  )


def run(workdir: pathlib.Path, num_steps: int, kib: int) -> None:
  """Searches unless genotype.json is there, then trains and judges."""
  config = ml_collections.ConfigDict({'seed': 0, 'steps': num_steps})
  run_log.start(workdir, config, selection())
  often = {'log_every': 1, 'checkpoint_every': 3}
  if not (workdir / 'genotype.json').exists():
    state = loop.run(program('search', num_steps, kib), workdir, **often)
    files.write_json(
      workdir / 'genotype.json',
      {
        'space': 'cdcnpp',
        'theta': 0.7,
        'cells': float(state.params['w'][0, 0]),
      },
    )
  state = loop.run(program('train', num_steps, kib), workdir, **often)
  described = checkpoints.describe(state)
  files.write_json(workdir / 'results.json', {'state': described})


def main(arguments: list[str]) -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('workdir', type=pathlib.Path)
  parser.add_argument('--steps', type=int, default=60)
  parser.add_argument('--kib', type=int, default=64)
  args = parser.parse_args(arguments)
  stopping.sigterm.start(lambda: 'stopped')
  try:
    run(args.workdir, args.steps, args.kib)
  except (ValueError, OSError) as error:
    print(f'error: {error}', file=sys.stderr)
    raise SystemExit(2) from None
  except stopping.Preempted:
    raise SystemExit(stopping.PREEMPTED) from None


def serve() -> None:
  """See the top. JAX has no threads yet, which a child would lack."""
  for line in sys.stdin:
    child = os.fork()
    if not child:
      status = 1
      try:
        main(json.loads(line))
        status = 0
      except SystemExit as error:
        status = error.code
      finally:
        sys.stderr.flush()
        os._exit(status)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == '__main__':
  # As the main module does, so that a SIGTERM of the first moments has its
  # status too; a child begins with it.
  stopping.quiet_imports()
  if sys.argv[1:] == ['--serve']:
    serve()
  else:
    main(sys.argv[1:])
