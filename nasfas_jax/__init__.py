"""NAS-FAS in JAX: search, train and evaluate face anti-spoofing networks."""


def load(path, *, adapted=False):
  """A trained network as a detector, see `nasfas_jax.detector.load`.

  JAX is imported here, so that `import nasfas_jax` stays light.

  Args:
    path: the workdir of a finished run, or the folder of an export.
    adapted: take the batch statistics that `calibrate` has adapted.
  """
  from nasfas_jax import detector

  return detector.load(path, adapted=adapted)
