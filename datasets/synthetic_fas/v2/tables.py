"""Every distribution of version 2.0.0: numbers only, nothing is drawn here.

`python -m nasfas_datasets.synthetic_fas.v2.written` prints them as the page
distributions.md. Lengths are in head units (half the height of a face, about
95 mm), lengths on the sensor in its pixels at a face of 50 pixels, angles in
radians, light relative to a white surface in full key light.
"""

from nasfas_datasets.synthetic_fas.v2.draws import (
  Choice,
  LogUniform,
  Table,
  Uniform,
)

# A room and its camera: drawn once for a room.
ROOM: Table = {
  # Direction of the key light: to the right, down, towards the camera.
  'lamp_x': Uniform(-0.9, 0.9),
  'lamp_y': Uniform(-0.9, 0.2),
  'lamp_z': Uniform(0.35, 0.9),
  # Colour temperatures in kelvin, and the share of ambient light.
  'lamp_kelvin': LogUniform(2700, 8000),
  'sky_kelvin': LogUniform(3000, 9000),
  'ambient': Uniform(0.25, 0.65),
  # Lens and sensor.
  'distance': LogUniform(0.9, 1.25),
  'blur': LogUniform(0.33, 0.55),
  'iso': LogUniform(100, 500),
  'demosaic': Choice(('bilinear', 'malvar')),
  'sharpen': Uniform(0.0, 0.5),
  # What the camera makes of the face, see `sensor.Camera`.
  'red': LogUniform(1.08, 1.4),
  'blue': LogUniform(0.7, 0.95),
  'exposure': Uniform(0.38, 0.58),
  'dark': Uniform(0.2, 0.45),
  'light': Uniform(0.4, 0.75),
  'spread': LogUniform(1.0, 1.3),
  'quality': LogUniform(60, 95),
  # What stands behind the person.
  'backdrop': Choice(('wall', 'shelf', 'window', 'curtain', 'bokeh')),
  'wall_tone': Uniform(0.15, 0.8),
  'wall_red': Uniform(-0.3, 0.3),
  'wall_blue': Uniform(-0.3, 0.3),
  'backdrop_blur': LogUniform(0.02, 0.15),
}

# How a clip differs from its room.
CLIP: Table = {
  'lamp_x': Uniform(-0.25, 0.25),
  'lamp_y': Uniform(-0.2, 0.2),
  'lamp_kelvin': LogUniform(0.93, 1.07),
  'ambient': Uniform(-0.1, 0.1),
  'distance': LogUniform(0.93, 1.07),
  'blur': LogUniform(0.8, 1.25),
  'iso': LogUniform(0.7, 1.4),
  'red': LogUniform(0.92, 1.08),
  'blue': LogUniform(0.92, 1.08),
  'exposure': LogUniform(0.8, 1.2),
  'dark': LogUniform(0.7, 1.4),
  'light': LogUniform(0.8, 1.25),
  'spread': LogUniform(0.9, 1.1),
  'quality': Uniform(-8, 8),
  'block_x': Uniform(0, 16),
  'block_y': Uniform(0, 16),
  'backdrop': Choice(
    ('room', 'room', 'room', 'wall', 'shelf', 'window', 'curtain', 'bokeh')
  ),
  'wall_tone': LogUniform(0.7, 1.4),
  'backdrop_blur': LogUniform(0.6, 1.6),
  # Where the face is in the crop, and the error of the detector, in pixels.
  'box_x': Uniform(-2.499, 2.499),
  'box_y': Uniform(-2.499, 2.499),
  'error_x': Uniform(-1.5, 1.5),
  'error_y': Uniform(-1.5, 1.5),
  'zoom': Uniform(0.92, 1.06),
}

# A person: the same in all clips.
PERSON: Table = {
  'half_width': Uniform(0.72, 0.86),
  'half_height': Uniform(1.10, 1.22),
  'half_depth': Uniform(0.78, 0.92),
  'jaw': Uniform(0.0, 0.22),
  'nose_height': Uniform(0.20, 0.36),
  'nose_width': Uniform(0.08, 0.14),
  'nose_length': Uniform(0.20, 0.30),
  'brow_height': Uniform(0.03, 0.09),
  'socket_depth': Uniform(0.06, 0.13),
  'cheek_height': Uniform(0.02, 0.12),
  'lip_height': Uniform(0.04, 0.08),
  'chin_height': Uniform(0.04, 0.15),
  'eye_distance': Uniform(0.26, 0.34),
  'eye_width': Uniform(0.12, 0.165),
  'eye_height': Uniform(0.05, 0.085),
  'eye_slant': Uniform(-0.12, 0.16),
  'mouth_y': Uniform(0.49, 0.57),
  'mouth_width': Uniform(0.19, 0.27),
  'lip_thickness': Uniform(0.03, 0.07),
  'brow_y': Uniform(-0.33, -0.27),
  'brow_thickness': Uniform(0.015, 0.05),
  'brow_bow': Uniform(0.3, 1.3),
  # Pigments, as optical densities (see `skin`).
  'melanin': LogUniform(0.06, 1.3),
  'haemoglobin': Uniform(0.12, 0.38),
  'lip_blood': Uniform(0.25, 0.8),
  'age': Uniform(0.0, 1.0),
  'pores': Uniform(0.06, 0.14),
  'freckles': Uniform(-0.5, 0.5),
  'oil': Uniform(0.0, 1.0),
  'iris': Choice(('brown', 'brown', 'dark', 'blue', 'green', 'grey')),
  'hair': Choice(('long', 'short', 'short', 'bob', 'bald', 'curly', 'tied')),
  'hair_tone': Uniform(0.0, 1.0),
  'hair_grey': Uniform(-0.7, 0.6),
  'hairline': Uniform(-0.75, -0.52),
  'parting': Uniform(-0.5, 0.5),
  'beard': Choice(('none', 'none', 'none', 'stubble', 'full', 'moustache')),
  'glasses': Choice(('none', 'none', 'none', 'round', 'square')),
  'cap': Choice(('none',) * 9 + ('cap',)),
}

# What a person wears in a clip.
DRESS: Table = {
  'cloth_r': LogUniform(0.03, 0.7),
  'cloth_g': LogUniform(0.03, 0.7),
  'cloth_b': LogUniform(0.03, 0.7),
  'pattern': Choice(('plain', 'plain', 'stripes', 'check')),
  'collar': Uniform(-0.1, 0.15),
  'oil': Uniform(-0.3, 0.3),
}

# Paper with a picture on it. Periods in pixels of the sensor.
PAPER: Table = {
  'screen_period': LogUniform(0.8, 2.1),
  'screen_angle': Uniform(0.0, 1.57),
  'dot_gain': Uniform(-0.1, 0.12),
  'yule_nielsen': Choice((1, 2, 2)),
  'ink_density': Uniform(0.85, 1.2),
  'gamut': Uniform(0.9, 1.5),
  'paper_white': Uniform(0.72, 0.92),
  'paper_tint': Uniform(-0.05, 0.04),
  'grain': LogUniform(0.01, 0.05),
  'roughness': Uniform(0.25, 0.6),
  'sheen': LogUniform(0.05, 1.0),
  'bend': Uniform(0.25, 0.8),
  'bend_axis': Uniform(0.0, 3.14),
  'brightness': LogUniform(0.75, 1.2),
}

# Screens. The pitch is that of a whole pixel, in pixels of the sensor.
SCREEN: Table = {
  'pitch': LogUniform(0.6, 1.9),
  'angle': Uniform(-0.15, 0.15),
  'fill': Uniform(0.55, 0.95),
  'gamma': Uniform(1.7, 2.3),
  'black': LogUniform(0.0008, 0.01),
  'gamut': Uniform(0.8, 1.3),
  'kelvin': LogUniform(4000, 8500),
  'brightness': LogUniform(0.5, 1.8),
  'reflection': LogUniform(0.02, 0.12),
  'glare': LogUniform(0.02, 0.6),
  'glare_x': Uniform(-1.4, 1.4),
  'glare_y': Uniform(-1.4, 1.4),
  'glare_size': Uniform(0.2, 0.6),
  'refresh': Uniform(50.0, 240.0),
  'duty': Choice((1.0, 1.0, 0.9, 0.6)),
  'row_time': LogUniform(1e-5, 1.5e-4),
  'shutter': LogUniform(0.003, 0.03),
  'bezel': Uniform(0.03, 0.22),
}

# Where a carrier ends, in head units from the middle of the face.
EDGES: Table = {
  'left': Uniform(0.9, 1.9),
  'right': Uniform(0.9, 1.9),
  'top': Uniform(1.1, 1.9),
  'bottom': Uniform(1.05, 1.9),
  'margin': Uniform(0.0, 0.15),
  # By how much the holes of a cut print are larger than the eyes.
  'hole': Uniform(0.03, 0.06),
}

# Masks.
MASK: Table = {
  'roughness': Uniform(0.18, 0.5),
  'specular': Uniform(0.8, 2.0),
  'detail': Uniform(0.0, 0.15),
  'tint_r': Uniform(-0.08, 0.08),
  'tint_b': Uniform(-0.08, 0.08),
  'relief_paper': Uniform(0.25, 0.5),
  'facet': Uniform(1.8, 3.2),
  'eye_shift': Uniform(-0.03, 0.03),
  'hole': Uniform(0.03, 0.06),
  'rim': Uniform(0.4, 0.85),
  'layer': LogUniform(0.05, 0.1),
}

# name: middle +-, amplitude from, to (head units, radians; shake in pixels).
SWINGS = {
  'yaw': (0.22, 0.05, 0.22),
  'pitch': (0.12, 0.02, 0.10),
  'roll': (0.08, 0.01, 0.06),
  'head_x': (0.0, 0.01, 0.06),
  'head_y': (0.0, 0.01, 0.05),
  'head_zoom': (0.0, 0.0, 0.03),
  'plane_yaw': (0.22, 0.01, 0.12),
  'plane_pitch': (0.16, 0.01, 0.08),
  'plane_roll': (0.07, 0.0, 0.04),
  'plane_x': (0.0, 0.0, 0.05),
  'plane_y': (0.0, 0.0, 0.045),
  'plane_zoom': (0.0, 0.0, 0.02),
  'shake_x': (0.0, 0.0, 1.2),
  'shake_y': (0.0, 0.0, 1.2),
  'gaze_x': (0.03, 0.0, 0.03),
  'gaze_y': (0.012, 0.0, 0.012),
}

ALL = {
  'room': ROOM,
  'clip': CLIP,
  'person': PERSON,
  'dress': DRESS,
  'paper': PAPER,
  'screen': SCREEN,
  'edges': EDGES,
  'mask': MASK,
}
