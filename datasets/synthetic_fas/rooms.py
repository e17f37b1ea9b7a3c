"""The domains, a room and its camera each: numbers only, nothing is drawn."""

from typing import NamedTuple


class Domain(NamedTuple):
  """One room seen by one camera."""

  name: str
  camera: str
  light: str
  lamp_x: float  # direction of the lamp: right
  lamp_y: float  # down
  lamp_z: float  # from the viewer's side
  ambient: float
  blur: float  # sigma in pixels
  noise: float  # standard deviation
  quality: float  # quantisation step of the compression
  gamma: float
  mean: float
  contrast: float
  saturation: float
  warmth: float  # red up, blue down


DOMAINS = (
    Domain('office', 'webcam', 'ceiling', 0.1, -0.8, 0.7, 0.45,
           0.55, 0.012, 0.020, 0.50, 0.52, 0.19, 0.055, 0.02),
    Domain('window', 'phone', 'daylight_side', -0.8, -0.25, 0.6, 0.30,
           0.42, 0.008, 0.012, 0.45, 0.60, 0.24, 0.075, -0.06),
    Domain('corridor', 'surveillance', 'overhead_dim', 0.0, -0.9, 0.5, 0.55,
           0.62, 0.016, 0.024, 0.60, 0.42, 0.16, 0.035, -0.02),
    Domain('night', 'laptop', 'desk_lamp', 0.65, 0.25, 0.7, 0.25,
           0.58, 0.022, 0.020, 0.55, 0.38, 0.21, 0.060, 0.10),
)  # fmt: skip
