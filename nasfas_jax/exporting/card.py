"""The model card of an export: README.md, for people."""

import hashlib
import pathlib
from typing import Any

from nasfas_jax import scoring
from nasfas_jax.preprocessing import clip_crops

# A comment, which Markdown does not show.
_SIGNATURE = '\n<!-- as written by nasfas_jax: {} -->\n'

_NAMES = {
  'hter': 'HTER',
  'auc': 'AUC',
  'eer': 'EER',
  'acer': 'ACER',
  'apcer_max': 'APCER (worst attack type)',
  'bpcer': 'BPCER',
}
# What `calibrate` compares on the test set of a run.
TEST_ROWS = {
  'before': 'of the training, threshold of the run',
  'threshold_only': 'of the training, threshold of these clips',
  'after': 'adapted, threshold of these clips',
}
_WHAT = {
  'model.onnx': 'uint8 frames to scores, float32, any batch size',
  'model_int8.onnx': 'the same with an int8 network',
  'model.stablehlo': 'the same for `jax.export`, on CPU, CUDA and TPU',
  'model.tflite': 'the same for LiteRT, one clip at a time',
  'params': 'parameters for `nasfas_jax.load`, an Orbax checkpoint',
  'export.json': 'everything below as JSON, and the sums of the files',
  'selftest.npz': 'generated clips and their scores',
  'check_onnx.py': 'compares the ONNX files with them; NumPy and onnxruntime',
}


def signed(text: str) -> str:
  """A card with a last line by which `is_edited` knows it."""
  return text + _SIGNATURE.format(_sum(text))


def is_edited(path: pathlib.Path) -> bool:
  """Whether somebody has changed a card; False if there is none."""
  if not path.exists():
    return False
  text = path.read_text(encoding='utf-8', errors='replace')
  length = len(_SIGNATURE.format(_sum('')))
  return text[-length:] != _SIGNATURE.format(_sum(text[:-length]))


def _sum(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_card(content: dict[str, Any], names: list[str]) -> str:
  """Writes the card.

  Args:
    content: of export.json.
    names: files and folders of the export.

  Returns:
    Markdown.
  """
  reading, threshold = content['reading'], content['threshold']
  size, number = reading['image_size'], reading['num_frames']
  lines = [
    '# Face anti-spoofing network',
    '',
    'Gives a score to a short clip of a face: higher is more evidence for a '
    'live face, lower for an attack. Made by nasfas_jax.',
    '',
    '| file | what |',
    '|---|---|',
    *(f'| `{name}` | {_WHAT[name]} |' for name in sorted(names)),
    '',
    '## Use',
    '',
    f'- **Input** `frames`: uint8 [batch, {number}, {size}, {size}, 3], RGB, '
    'in order of time, made as below. The normalisation and the dynamic image '
    'are in the file.',
    '- **Input** `face_size`: float32 [batch, 2], width and height of the face '
    'box in the pictures of step 2, in any unit; 0, 0 if unknown.',
    '- **Output** `score`: float32 [batch]. '
    f'`map`: float32 [batch, {reading["map_size"]}, {reading["map_size"]}].',
    '- **Decision**: live if the score, the mean over the snippets, is above '
    f'{threshold["value"]:.6g} '
    f'({_plain(threshold["rule"], 400)}).',
    *_warning(threshold['warning']),
    '',
    'The frames of a clip are made as those of the training:',
    '',
    *_recipe(reading),
    '',
    '```python',
    'import onnxruntime',
    "session = onnxruntime.InferenceSession('model.onnx')",
    "score, = session.run(['score'], {'frames': frames, 'face_size': size})",
    '```',
    '',
    '## Data and protocol',
    '',
    f'- Protocol: `{_plain(content["trained_on"])}`.',
    f'- Data: {_listed(content["data"].get("versions"))}.',
    '- Clips: '
    + ', '.join(
      f'{_plain(part)} {count}'
      for part, count in dict(content['data'].get('num_clips') or {}).items()
    )
    + '.',
    f'- Licence of the data: {_plain(content["data"]["licence"])}.',
    '',
    '## Metrics',
    '',
    *_metrics(content['metrics'], threshold['value']),
    '',
    *_adapted(content.get('adapted')),
    *_int8(content['formats'].get('int8')),
    '## Intended use',
    '',
    'Research on presentation attack detection, and a part of a system whose '
    'other parts and whose decisions a person answers for. Set the threshold '
    'on clips of the place of use: one that was chosen elsewhere carries over '
    'badly.',
    '',
    '## Limits',
    '',
    '- The figures hold for the protocol above. On other cameras, rooms, '
    'attacks and people they are not known.',
    '- Attack types that were not in the training data may pass.',
    *(
      [
        '- The network looks at motion: a still picture has none, and its '
        'score means nothing.'
      ]
      if content['needs_motion']
      else []
    ),
    *_boxes(content['boxes']),
    '- It neither finds nor recognises faces, and was not tested for '
    'differences between groups of people.',
    '- The checksums in export.json find damage. They are no signature: fetch '
    'the folder from a place that you trust.',
    '',
  ]
  return '\n'.join(lines)


def _recipe(reading: dict[str, Any]) -> list[str]:
  """How the frames of a clip are made, as a numbered list."""
  prepared = reading['preparation']
  size, number = reading['image_size'], reading['num_frames']
  stored, snippets = prepared['num_frames'], reading['num_snippets']
  if number < stored and snippets > 1:
    chosen = (
      f'Score {snippets} evenly placed runs of {number} consecutive ones of '
      'these; the score of the clip is the mean.'
    )
  elif number < stored:
    chosen = f'Take the {number} consecutive ones in the middle of these.'
  else:
    chosen = f'Take all of these, repeated evenly if they are not {number}.'
  if prepared['border'] == 'stretch':
    wide = (
      f'Scale the width and the height of the box by {prepared["margin"]:g} '
      'about its centre, clip the region to the frame, and resize it '
      f'bilinearly to {prepared["size"]} x {prepared["size"]}.'
    )
  else:
    border = {
      'replicate': 'repeat the border pixels',
      'reflect': 'mirror the frame',
      'zero': 'black',
    }[prepared['border']]
    wide = (
      f'Crop a square about its centre, {prepared["margin"]:g} times its '
      'larger side, in whole pixels (past the border of the frame: '
      f'{border}). Resize it to {prepared["size"]} x {prepared["size"]}, by '
      'area averaging where it shrinks, else bilinearly.'
    )
  return [
    f'1. Decode {stored} frames, the middles of {stored} equal parts of the '
    'clip, and take one box of the face for all.',
    f'2. {wide}',
    '3. In these pictures, crop a square about the centre of the box, '
    f'{reading["face_scale"]:g} times its larger side, and resize it '
    f'bilinearly to {size} x {size} (half-pixel centres, border pixels '
    'repeated).',
    f'4. {chosen}',
    '',
    'Other frames or another resizing give other scores: frames that follow '
    'each other at once show less motion, and without step 2 a large face '
    'loses texture to aliasing.',
  ]


def _plain(text: Any, most: int = 200) -> str:
  """One line without what Markdown or HTML would take for its own."""
  text = ' '.join(str(text).split())
  for sign in '\\`*<>[]|&':
    text = text.replace(sign, '')
  return text[:most]


def _listed(values: Any) -> str:
  return ', '.join(f'`{_plain(value)}`' for value in values or ()) or 'unknown'


def _metrics(metrics: dict[str, Any] | None, decided: float) -> list[str]:
  if metrics is None:
    return ['Not known: this network was judged on no test set.']
  how = metrics.get('batch_norm', scoring.RUNNING)
  if how != scoring.RUNNING:
    return [
      'Not known for this network. The run judged its clips normalised by the '
      f'statistics of their batch (`{_plain(how)}`); the files of this export '
      'use those of the training, and a single clip gets another score.'
    ]
  test, intervals = metrics['test'], metrics['intervals']
  level, threshold = metrics['level'], test.get('threshold', decided)
  lines = [
    f'{test["num_live"]} live and {test["num_spoof"]} attack clips of the test '
    f'set, by the network in JAX, at the threshold {threshold:.6g}'
    + (
      '.'
      if threshold == decided
      else f' of the training: at {decided:.6g}, by which this export decides, '
      'HTER, ACER, APCER and BPCER are others.'
    ),
    '',
    f'| metric | value | {level:.0%} interval |',
    '|---|---|---|',
  ]
  for key, name in _NAMES.items():
    value = test.get(key)
    if value is None:
      continue
    ends = intervals.get(key)
    interval = f'{ends[0]:.3f} to {ends[1]:.3f}' if ends else '-'
    lines.append(f'| {name} | {value:.3f} | {interval} |')
  return lines


def _adapted(adapted: dict[str, Any] | None) -> list[str]:
  """What a reader has to know about adapted batch statistics."""
  if not adapted:
    return []
  lines = [
    '## Adapted batch statistics',
    '',
    f'The network has {_plain(adapted["text"])} ({_plain(adapted["clips"])}). '
    'The figures above are of the network as it was trained. No attack was '
    'among those clips: what this does to attacks at their place is not known.',
    '',
  ]
  if test := adapted.get('test'):
    lines += [
      "On the run's own test set:",
      '',
      '| batch statistics | AUC | BPCER | APCER, worst | pooled |',
      '|---|---|---|---|---|',
      *(
        f'| {name} | '
        + ' | '.join(
          _number(test[key][field])
          for field in ('auc', 'bpcer', 'apcer_max', 'apcer_pooled')
        )
        + ' |'
        for key, name in TEST_ROWS.items()
      ),
      '',
    ]
  return lines


def _warning(text: str) -> list[str]:
  said = _plain(text, 1000)
  return [f'- **Warning** of this threshold: {said}'] if text else []


def _boxes(boxes: list[str]) -> list[str]:
  """What box to give, if that is not one of any face detector."""
  if set(boxes) == {clip_crops.WHOLE_FRAME}:
    return [
      '- It was trained on whole frames, not on faces that were found: give '
      'it the whole frame.'
    ]
  if set(boxes) == {clip_crops.DETECTED}:
    return []
  return [
    f'- The face box in training was {_plain(clip_crops.describe_boxes(boxes))}'
    '. The box of a face detector is another crop and another score: check the '
    'threshold with clips whose answer you know.'
  ]


def _int8(figures: dict[str, Any] | None) -> list[str]:
  if not figures:
    return []
  return [
    'The int8 file, calibrated on '
    f'{figures["calibration_clips"]} training clips:',
    '',
    '| clips | AUC float32 | AUC int8 |',
    '|---|---|---|',
    *(
      f'| {_plain(part)} | {_number(both["float32"])} '
      f'| {_number(both["int8"])} |'
      for part, both in figures['auc'].items()
    ),
    '',
    f'Its own threshold is {figures["threshold"]["value"]:.6g} '
    f'({_plain(figures["threshold"]["rule"])}).',
    '',
  ]


def _number(value: float | None) -> str:
  return '-' if value is None else f'{value:.3f}'
