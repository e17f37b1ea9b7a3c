"""Light: colours of lamps, highlights, and light that scatters in skin."""

import cv2
import numpy as np

# Wavelengths in metres that stand for R, G and B of a sensor.
WAVELENGTHS = np.array([610e-9, 545e-9, 465e-9])
HEAD_UNIT_MM = 95.0

# The diffusion profile of skin as a sum of Gaussians: variance in mm^2, weights
# of R, G, B. Table of d'Eon and Luebke, "Advanced techniques for realistic
# real-time skin rendering", GPU Gems 3, chapter 14 (2007).
SKIN_PROFILE = (
  (0.0064, (0.233, 0.455, 0.649)),
  (0.0484, (0.100, 0.336, 0.344)),
  (0.187, (0.118, 0.198, 0.0)),
  (0.567, (0.113, 0.007, 0.007)),
  (1.99, (0.358, 0.004, 0.0)),
  (7.41, (0.078, 0.0, 0.0)),
)


def planck(kelvin: float, white: float = 6500.0) -> np.ndarray:
  """The colour of a black body relative to one of 6500 K, with green 1.

  Planck's law at `WAVELENGTHS` (M. Planck, Annalen der Physik, 1901).

  Returns:
    float32 [3].
  """
  second = 1.438776877e-2  # hc / k in metre kelvin

  def radiance(temperature):
    return WAVELENGTHS**-5 / np.expm1(second / (WAVELENGTHS * temperature))

  colour = radiance(kelvin) / radiance(white)
  return (colour / colour[1]).astype(np.float32)


def ggx(cosine_half: np.ndarray, roughness: float) -> np.ndarray:
  """The GGX distribution of micro-facet normals.

  Walter et al., "Microfacet models for refraction through rough surfaces",
  EGSR 2007, eq. 33. Its integral with the cosine over the hemisphere is 1.

  Args:
    cosine_half: of the angle between normal and half vector.
    roughness: alpha.
  """
  alpha = np.float32(roughness * roughness)
  below = cosine_half * cosine_half * (alpha - 1) + 1
  return alpha / (np.float32(np.pi) * below * below)


def cosine(normal: np.ndarray, direction: np.ndarray) -> np.ndarray:
  """[3, H, W] and [3] -> [H, W]."""
  return (
    normal[0] * direction[0]
    + normal[1] * direction[1]
    + normal[2] * direction[2]
  )


def highlight(normal, lamp, roughness, base: float) -> np.ndarray:
  """Mirror-like light of a distant lamp seen from the front, [H, W].

  The GGX distribution with Schlick's Fresnel term (Schlick, Computer Graphics
  Forum, 1994). The shadowing term over 4 (n l)(n v) is taken as Kelemen's
  1 / (4 (l h)^2) (Kelemen and Szirmay-Kalos, Eurographics 2001).

  Args:
    normal: float32 [3, H, W] in camera coordinates; z towards the camera.
    lamp: unit vector [3] to the lamp.
    roughness: alpha of GGX.
    base: reflectance at normal incidence; 0.028 for skin (n = 1.4).
  """
  half = lamp + np.array([0, 0, 1], np.float32)
  half /= np.float32(np.sqrt(half @ half))
  toward = np.clip(cosine(normal, half), 0, 1)
  lit = np.clip(cosine(normal, lamp), 0, 1)
  meet = float(half[2])
  fresnel = base + (1 - base) * (1 - meet) ** 5
  scale = np.float32(np.pi * fresnel / (4 * meet * meet))
  return ggx(toward, roughness) * lit * scale


def scatter(light: np.ndarray, pixels_per_unit: float) -> np.ndarray:
  """Light after it has spread under the skin: wider in red than in blue.

  Args:
    light: float32 [H, W, 3], irradiance.
    pixels_per_unit: of the picture; a Gaussian narrower than 0.3 pixels is
      left out.

  Returns:
    float32 [H, W, 3].
  """
  planes = list(cv2.split(light))
  seen = [plane.copy() for plane in planes]
  for variance, weights in SKIN_PROFILE:
    sigma = float(np.sqrt(variance)) / HEAD_UNIT_MM * pixels_per_unit
    if sigma < 0.3:
      continue
    for k, weight in enumerate(weights):
      if weight > 0.02:
        wide = cv2.GaussianBlur(planes[k], (0, 0), sigma)
        seen[k] += np.float32(weight) * (wide - planes[k])
  return cv2.merge(seen)
