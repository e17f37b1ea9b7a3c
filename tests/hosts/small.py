"""The configs of these tests: whole runs on the least network.

python -m nasfas_jax.main --config=tests/hosts/small.py:tasks
"""

from small_search import small_config

STEPS = 12


def get_config(variant: str):
  """'plain' or 'tasks': a search, then the training of what it found."""
  config = small_config(
    hold_out={'plain': 'none', 'tasks': 'domain'}[variant],
    num_steps=STEPS,
    arch_every=4,
    batch_size=8,
  )
  config.train.num_steps = STEPS
  config.checkpoint_every = 3
  config.log_every = 1
  # Its optimizer state is split over the hosts.
  config.meta.update({'num_tasks': 2, 'support_size': 4, 'query_size': 4})
  config.meta.shard_optimizer = variant == 'tasks'
  return config
