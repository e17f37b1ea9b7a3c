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


def programs() -> dict[str, tuple[str, dict, str, int]]:
  """Name -> (form, settings of the supernet, step, clips of it)."""
  found = {}
  for form in ('bfloat16', 'tensorfloat32'):
    for step, batch in (('inference', 32), ('training', 32)):
      found[f'{step}, batch {batch}, {form}'] = (form, {}, step, batch)
    for supernet in ({}, {'remat_convolutions': True}):
      words = [f'{name}={value}' for name, value in supernet.items()]
      for step, batch in (
        ('weight step', 12),
        ('architecture step', 12),
        # Of a first-order step over tasks.
        ('gradient of 4 sets', 4),
      ):
        name = ', '.join([f'{step}, batch {batch}, {form}', *words])
        found[name] = form, supernet, step, batch
  return found


def measure(sharding, form: str, supernet: dict, step: str, batch: int):
  """Compiles one program and says what it takes."""
  variants = {'weight step': 'plain', 'architecture step': 'plain'}
  variants['gradient of 4 sets'] = 'domain'
  config = accelerator_steps.config_of(
    {'size': 'paper', 'form': form, 'supernet': supernet},
    variants.get(step, ''),
  )
  with jax.default_matmul_precision(accelerator_steps.FORMS[form][1]):
    if step.endswith(' step'):
      case = lowered.search_steps(config, batch)[step]
    elif step in variants:
      case = lowered.set_gradients(config)
    else:
      case = getattr(lowered, step)(config, batch)
    args = jax.tree.map(
      lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding),
      case.args,
    )
    # A step gives its state away.
    donated = 0 if step == 'training' or step.endswith(' step') else ()
    begun = time.perf_counter()
    program = jax.jit(case.function, donate_argnums=donated).lower(*args)
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
  chosen = {
    name: fields
    for name, fields in programs().items()
    if not _ONLY.value or any(word in name for word in _ONLY.value)
  }
  if not chosen:
    raise app.UsageError(
      f'--only={_ONLY.value}; allowed: words of {", ".join(programs())}.'
    )
  found = {}
  for name, fields in chosen.items():
    found[name] = measure(sharding, *fields)
    text = ', '.join(f'{key} {value:.2f}' for key, value in found[name].items())
    print(f'{name}: {text}', flush=True)
    if _JSON.value:
      files.write_json(_JSON.value, found)


if __name__ == '__main__':
  app.run(main)
