"""Compiles the published steps for an NVIDIA H100 that is not there.

python -m benchmarks.compiled [--json=FILE] [--only=WORD ...]

XLA compiles for a described GPU without one; `pip install -e '.[cuda]'` brings
its compiler to any Linux machine. It says of each program how many seconds it
took to compile (with the first guess of every algorithm, since there is no card
to try them on), and the GiB of its arguments and temporaries, without the
workspaces of cuDNN.
"""

import os
import time

if __name__ == '__main__':
  # Read when JAX is imported: no driver is looked for.
  os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
  os.environ['JAX_SKIP_CUDA_CONSTRAINTS_CHECK'] = '1'
  os.environ['JAX_PLATFORMS'] = ''
  os.environ['XLA_FLAGS'] = (
    f'{os.environ.get("XLA_FLAGS", "")} --xla_gpu_autotune_level=0'
  )

import jax
from absl import app, flags, logging
from jax.experimental import topologies

from benchmarks import accelerator_steps, lowered
from nasfas_jax import files

_JSON = flags.DEFINE_string('json', '', 'File to write; "" writes none.')
_ONLY = flags.DEFINE_multi_string(
  'only', [], 'Programs whose names hold a word.'
)

# As the driver of an H100 SXM describes it.
H100 = """
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 19 }
runtime_version { major: 13 minor: 0 patch: 0 }
gpu_device_info {
  cuda_compute_capability { major: 9 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  memory_bandwidth: 3352320000000
  device_memory_size: 84929347584
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
}
"""


def programs() -> dict[str, tuple[str, lowered.Case]]:
  """Name -> (form, what is compiled), in the order of `lowered.cases`."""
  found = {}
  for form, (dtype, _) in accelerator_steps.FORMS.items():
    if form == 'float32':
      continue
    for full in (False, True):

      def change(config, dtype=dtype, full=full):
        config.dtype = dtype
        config.supernet.remat_convolutions = full

      for name, case in lowered.cases('paper', change).items():
        if not full:
          found[f'{name}, {form}'] = form, case
        elif not name.startswith('CDCN++'):
          found[f'{name}, {form}, remat_convolutions=True'] = form, case
  return found


def measure(sharding, form: str, case: lowered.Case, donate: bool) -> dict:
  """Compiles one program and says what it takes.

  Args:
    sharding: of all arguments, on the described card.
    form: a key of `accelerator_steps.FORMS`.
    case: the program.
    donate: whether it gives its first argument away.
  """
  args = jax.tree.map(
    lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding),
    case.args,
  )
  function = jax.jit(case.function, donate_argnums=0 if donate else ())
  with jax.default_matmul_precision(accelerator_steps.FORMS[form][1]):
    begun = time.perf_counter()
    program = function.lower(*args)
    lowered_at = time.perf_counter()
    memory = program.compile().memory_analysis()
  return {
    'lower_seconds': lowered_at - begun,
    'compile_seconds': time.perf_counter() - lowered_at,
    'arguments_gib': memory.argument_size_in_bytes / 2**30,
    'temporaries_gib': memory.temp_size_in_bytes / 2**30,
  }


def main(argv) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Unknown arguments: {argv[1:]}')
  logging.set_verbosity(logging.WARNING)
  topology = topologies.get_topology_desc(
    platform='cuda', target_config=H100, topology='1x1x1'
  )
  sharding = jax.sharding.NamedSharding(
    topologies.make_mesh(topology, (1,), ('batch',)),
    jax.sharding.PartitionSpec(),
  )
  known = programs()
  chosen = {
    name: program
    for name, program in known.items()
    if not _ONLY.value or any(word in name for word in _ONLY.value)
  }
  if not chosen:
    raise app.UsageError(
      f'--only={_ONLY.value}; allowed: words of {"; ".join(known)}.'
    )
  found = {}
  for name, (form, case) in chosen.items():
    # A step gives its state away.
    found[name] = measure(sharding, form, case, ' step' in name)
    text = ', '.join(f'{key} {value:.2f}' for key, value in found[name].items())
    print(f'{name}: {text}', flush=True)
    if _JSON.value:
      files.write_json(_JSON.value, found)


if __name__ == '__main__':
  app.run(main)
