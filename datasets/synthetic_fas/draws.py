"""Named random draws and lattice noise: all the randomness of the simulator."""

import jax
import jax.numpy as jnp

# name -> (low, high) of a uniform draw.
Ranges = dict[str, tuple[float, float]]


def draw(key: jax.Array, ranges: Ranges) -> dict[str, jax.Array]:
  """Draws one uniform number a name; float32 scalars.

  The numbers depend on the order of the names, so that a new name goes to the
  end of its table.
  """
  values = jax.random.uniform(key, (len(ranges),))
  return {
    name: low + (high - low) * values[i]
    for i, (name, (low, high)) in enumerate(ranges.items())
  }


def mix(a, b, t):
  """a where t = 0, b where t = 1."""
  return a + (b - a) * t


def step(distance: jax.Array, width) -> jax.Array:
  """Anti-aliased edge: 1 where distance >> 0, 0 where << 0, linear between."""
  return jnp.clip(distance / width + 0.5, 0.0, 1.0)


def paint(image: jax.Array, colour: jax.Array, mask: jax.Array) -> jax.Array:
  """Lays a colour ([3] or [3, H, W]) over an image [3, H, W] where mask is 1.

  mask: float32 [H, W] in [0, 1].
  """
  if colour.ndim == 1:
    colour = colour[:, None, None]
  return mix(image, colour, mask[None])


def _hash(ix: jax.Array, iy: jax.Array, seed: jax.Array) -> jax.Array:
  """A number in [-1, 1] for every lattice point (int32) and seed (int32)."""
  h = ix * jnp.int32(374761393) + iy * jnp.int32(668265263) + seed
  h = (h ^ (h >> 13)) * jnp.int32(1274126177)
  h = h ^ (h >> 16)
  return (h & jnp.int32(0xFFFF)).astype(jnp.float32) / 32767.5 - 1.0


def value_noise(x: jax.Array, y: jax.Array, seed: jax.Array) -> jax.Array:
  """Smooth noise in [-1, 1] with one lattice point a unit.

  Args:
    x: float32 of any shape.
    y: the same.
    seed: int32 scalar; another seed gives another noise.
  """
  x0, y0 = jnp.floor(x), jnp.floor(y)
  fx, fy = x - x0, y - y0
  fx, fy = fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy)
  ix, iy = x0.astype(jnp.int32), y0.astype(jnp.int32)
  seed = seed * jnp.int32(1013904223)
  top = mix(_hash(ix, iy, seed), _hash(ix + 1, iy, seed), fx)
  bottom = mix(_hash(ix, iy + 1, seed), _hash(ix + 1, iy + 1, seed), fx)
  return mix(top, bottom, fy)
