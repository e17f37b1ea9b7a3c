"""One judged clip as a piece of HTML, with its pictures inside.

Nothing refers to a file or an address. Texts come from outside and are escaped,
also against templates that would fill in `${...}` or `{{...}}`.
"""

import base64
import dataclasses
import html
from collections.abc import Sequence

import cv2
import numpy as np

from nasfas_jax.report import style

_COLOURS = f"""
.item {{ --text: #1d262e; --soft: #5c6873; --line: #dde2e7;
  --live: {style.LIVE}; --spoof: {style.SPOOF}; color: var(--text);
  font: 15px/1.5 system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; }}
.dark .item {{ --text: #e4e8eb; --soft: #a0abb5; --line: #333d46;
  --live: {style.LIVE_DARK}; --spoof: {style.SPOOF_DARK}; }}
"""
_REST = """
.item h2 { font-size: 26px; line-height: 1.25; font-weight: 650; margin: 0;
  color: var(--text); }
.item.live h2 { color: var(--live); }
.item.spoof h2 { color: var(--spoof); }
.item p { margin: 4px 0 12px; max-width: 70ch; color: var(--text);
  overflow-wrap: anywhere; }
.item dl { display: grid; grid-template-columns: max-content minmax(0, 1fr);
  gap: 2px 16px; margin: 0 0 16px; padding: 10px 0;
  border-style: solid; border-color: var(--line); border-width: 1px 0; }
.item dt { color: var(--soft); }
.item dd { margin: 0; overflow-wrap: anywhere;
  font-variant-numeric: tabular-nums; }
.item .views { display: grid; gap: 14px; margin: 0 0 16px;
  grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); }
.item figure { margin: 0; min-width: 0; }
.item figure.wide { grid-column: 1 / -1; }
.item figure img { display: block; width: 100%; border-radius: 6px;
  border: 1px solid var(--line); }
.item figure.wide img { width: auto; max-width: 100%; max-height: 420px; }
.item figure.small img { aspect-ratio: 1; image-rendering: pixelated; }
.item figure.chart img { background: #fff; padding: 6px; max-height: none;
  width: 100%; max-width: 460px; }
.item figcaption { font-size: 13px; line-height: 1.4; color: var(--soft);
  margin-top: 4px; }
.item figcaption b { color: var(--text); font-weight: 600; }
.item ul { margin: 0 0 16px; padding-left: 20px; color: var(--text);
  overflow-wrap: anywhere; }
"""
STYLE = _COLOURS + _REST
_BRACES = str.maketrans(
  {c: f'&#{ord(c)};' for c in ('$', '{', '}', '`', '\\', '@')}
)


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
  """A picture with its words.

  Attributes:
    name: in bold below it.
    image: uint8 RGB [H, W, 3], or the text of an SVG file.
    about: after the name.
    spoken: what it shows, for those who cannot see it.
    kind: 'wide' (a row of its own), 'small' (a square) or 'chart'.
  """

  name: str
  image: np.ndarray | str
  about: str
  spoken: str
  kind: str = 'small'


def render(
  *,
  heading: str,
  sentence: str,
  decision: str | None = None,
  facts: Sequence[tuple[str, str]] = (),
  notes: Sequence[str] = (),
  pictures: Sequence[Picture] = (),
) -> str:
  """Returns the HTML of one item.

  Args:
    heading: the outcome, large.
    sentence: what it means.
    decision: sets the colour: 'live', 'spoof' or None.
    facts: (name, value) of a list.
    notes: paragraphs.
    pictures: in this order.

  Raises:
    ValueError: for an unknown decision or kind of picture.
  """
  if decision not in ('live', 'spoof', None):
    raise ValueError(f'decision is {decision!r}; allowed: live, spoof, None.')
  parts = [
    f'<h2>{escape(heading)}</h2><p>{escape(sentence)}</p>',
    ''.join(
      f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>'
      for name, value in facts
    ),
    ''.join(f'<li>{escape(note)}</li>' for note in notes),
    ''.join(map(_figure, pictures)),
  ]
  for place, (start, end) in enumerate(
    (('<dl>', '</dl>'), ('<ul>', '</ul>'), ('<div class="views">', '</div>')), 1
  ):
    parts[place] = parts[place] and f'{start}{parts[place]}{end}'
  # A status is read out when it appears.
  return (
    f'<article class="item {decision or "none"}" role="status">'
    f'{"".join(parts)}</article>'
  )


def escape(text: object) -> str:
  """Text that no HTML and no template takes for anything else."""
  return html.escape(str(text)).translate(_BRACES)


def _figure(picture: Picture) -> str:
  kinds = {'wide': 'wide', 'small': 'small', 'chart': 'wide chart'}
  if picture.kind not in kinds:
    raise ValueError(f'kind is {picture.kind!r}; allowed: {", ".join(kinds)}.')
  if isinstance(picture.image, str):
    kind, data = 'svg+xml', picture.image.encode()
  else:
    done, encoded = cv2.imencode('.png', picture.image[..., ::-1])
    if not done:
      raise ValueError(f'No picture: its shape is {picture.image.shape}.')
    kind, data = 'png', encoded.tobytes()
  text = base64.b64encode(data).decode()
  return (
    f'<figure class="{kinds[picture.kind]}">'
    f'<img src="data:image/{kind};base64,{text}" '
    f'alt="{escape(picture.spoken)}">'
    f'<figcaption><b>{escape(picture.name)}</b> {escape(picture.about)}'
    '</figcaption></figure>'
  )
