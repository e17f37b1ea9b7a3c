"""XLA's options for tests, which compile more than they run."""

from importlib import metadata

# What users have: XLA's own values.
USERS = {
  'xla_backend_optimization_level': 3,
  'xla_cpu_parallel_codegen_split_count': 32,
  'xla_cpu_use_fusion_emitters': True,
}
# Compiled fast, run slowly.
TESTS = {
  'xla_backend_optimization_level': 0,
  'xla_cpu_parallel_codegen_split_count': 1,
  'xla_cpu_use_fusion_emitters': False,
}
if not metadata.version('jaxlib').startswith('0.10.'):
  # XLA has nothing but the emitters, and ends a process that sets the option.
  del USERS['xla_cpu_use_fusion_emitters'], TESTS['xla_cpu_use_fusion_emitters']


def flags() -> str:
  """The tests' options in the form of XLA_FLAGS."""
  return ' '.join(
    f'--{name}={str(value).lower()}' for name, value in TESTS.items()
  )
