"""Masks: rigid ones of plastic, printed ones of card."""

import cv2
import numpy as np

from nasfas_datasets.synthetic_fas.v2 import (
  draws,
  head,
  paper,
  person,
  skin,
  tables,
)
from nasfas_datasets.synthetic_fas.v2.draws import mix, step
from nasfas_datasets.synthetic_fas.v2.view import Mask, Setting, mask_oval


def make_mask(who, maps, kind: str, medium: str, attacker, rng):
  """A mask of a face: (Mask, its paper, dot areas of its print or None).

  Args:
    who: whose face it shows; maps: of that person.
    kind: 'mask_rigid' or 'mask_paper'.
    medium: of `plan.VARIANTS`.
    attacker: who wears it.
    rng: of the clip.
  """
  drawn = draws.draw(rng, tables.MASK)
  stock = draws.draw(rng, tables.PAPER)
  face = np.sqrt(
    (maps.x / (0.90 * who['half_width'])) ** 2
    + ((maps.y - person.FACE_Y) / 0.88) ** 2
  )
  inside = step(1 - face, 0.04)
  plain = maps.smooth * np.exp(maps.detail)[..., None]
  look = {'openness': 1, 'gaze_x': 0, 'gaze_y': 0, 'mouth': 0}
  look |= {'glint': (0, 0, 0), 'soft': 0.035}
  if kind == 'mask_paper':
    printed = plain.copy()
    person.put_expression(who, maps, printed, look)
    areas = paper.dot_areas(
      np.clip(stock['brightness'] * printed, 0, 1), stock['gamut'],
      stock['dot_gain'],
    )  # fmt: skip
    image = paper.reflectance(
      areas, stock['yule_nielsen'], stock['ink_density'], paper.white(stock)
    )
  else:
    areas = None
    image = maps.smooth * np.exp(drawn['detail'] * maps.detail)[..., None]
    person.put_expression(who, maps, image, look)
    image *= np.float32([1 + drawn['tint_r'], 1, 1 + drawn['tint_b']])
    if medium == 'printed_3d':  # Layers of the printer.
      rate = 2 * np.pi / drawn['layer']
      image *= (1 + 0.08 * np.sin(rate * maps.y))[..., None]
  # Around the mask is the skin of who wears it.
  other, own = (
    skin.colour(some['melanin'], some['haemoglobin'])
    for some in (attacker, who)
  )
  plain *= 1 + maps.skin[..., None] * (other / own - 1)
  image = mix(plain, image, inside[..., None])
  rim = np.exp(-(((face - 1) / 0.03) ** 2))
  image *= (1 - drawn['rim'] * rim)[..., None]
  card = kind == 'mask_paper'
  glossy = medium == 'plastic_glossy'
  made = Mask(
    image.astype(np.float32),
    drawn['relief_paper'] if card else 1.0,
    drawn['facet'] if card else 0.0,
    0.55 if card else drawn['roughness'] * (0.8 if glossy else 1.3),
    0.5 if card else drawn['specular'] * (1.8 if glossy else 0.8),
    attacker,
    drawn['eye_shift'],
    drawn['hole'],
  )
  return made, stock, areas


def dots(who, maps, hit, part, stock, areas, setting: Setting):
  """Factor [H, W, 3] by which the dots of a printed mask change the picture."""
  fine, coarse = setting.fine, setting.coarse
  size = coarse.x.shape
  inside = np.zeros(fine.x.shape, np.float32)
  inside[part] = step(1 - np.sqrt(mask_oval(who, hit)), 0.1) * hit.cover
  places = []
  for seen in (hit.x, hit.y):
    place = np.zeros(fine.x.shape, np.float32)
    place[part] = seen
    places.append(cv2.resize(place, size, interpolation=cv2.INTER_AREA))
  there = head.look_up(areas, *places, maps.density)
  found = paper.dots(there, *places, stock, coarse.density, setting.camera.blur)
  if found is None:
    return np.float32(1)
  inside = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
  return 1 + draws.times(found - 1, inside)
