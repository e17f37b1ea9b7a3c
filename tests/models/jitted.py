"""Modules under jit: one program where eager calls compile one an operation."""

import functools

import jax

from nasfas_jax import models

initialize = jax.jit(models.initialize, static_argnums=0)


@functools.cache
def _compiled(module, options):
  def call(variables, args, rngs):
    return module.apply(variables, *args, rngs=rngs, **dict(options))

  return jax.jit(call)


def apply(module, variables, *args, rngs=None, **options):
  """`module.apply` with the same arguments; `mutable` is a list, if given."""
  if 'mutable' in options:
    options['mutable'] = tuple(options['mutable'])
  return _compiled(module, tuple(sorted(options.items())))(
    variables, args, rngs
  )
