"""Skin colour from its pigments."""

import numpy as np

from nasfas_datasets.synthetic_fas.v2 import light

# Reflectance of skin without pigment, R, G, B.
BASE = np.array([0.80, 0.72, 0.66], np.float32)
# Absorption relative to green. Melanin falls as the wavelength to the power
# -3.33 (Jacques, Physics in Medicine and Biology, 2013, eq. 6).
MELANIN = ((light.WAVELENGTHS / light.WAVELENGTHS[1]) ** -3.33).astype(
  np.float32
)
# Oxygenated blood at 610, 545 and 465 nm, rounded from Prahl's tabulated
# extinction (omlc.org, 1999).
HAEMOGLOBIN = np.array([0.03, 1.0, 0.57], np.float32)


def colour(melanin, haemoglobin) -> np.ndarray:
  """Reflectance of skin, [..., 3].

  The logarithm is linear in the densities of the two pigments: Tsumura et al.,
  "Independent-component analysis of skin color image", JOSA A 16 (1999), eq. 5.

  Args:
    melanin: density in green, float or float32 [H, W].
    haemoglobin: likewise.
  """
  melanin = np.asarray(melanin, np.float32)[..., None]
  haemoglobin = np.asarray(haemoglobin, np.float32)[..., None]
  return BASE * np.exp(-(MELANIN * melanin + HAEMOGLOBIN * haemoglobin))
