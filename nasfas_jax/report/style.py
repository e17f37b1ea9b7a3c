"""The look of the report: pieces of HTML and the style sheet.

Every function takes plain text and escapes it; drawings are SVG.
"""

import base64
import html
from collections.abc import Mapping, Sequence

# Of live and spoof wherever either is drawn, on white and on a dark page. They
# are never the only sign: the words say it.
LIVE, SPOOF = '#1b7f79', '#b23c24'
LIVE_DARK, SPOOF_DARK = '#4fb8b0', '#f08a70'

_COLOURS = f"""
:root {{ color-scheme: light dark; --text: #1d262e; --soft: #5c6873;
  --line: #dde2e7; --page: #fbfbfa; --card: #fff; --accent: {LIVE};
  --alarm: {SPOOF}; }}
@media (prefers-color-scheme: dark) {{ :root {{ --text: #e4e8eb;
  --soft: #a0abb5; --line: #333d46; --page: #14191d; --card: #1b2227;
  --accent: {LIVE_DARK}; --alarm: {SPOOF_DARK}; }} }}
"""
_STYLE = """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 28px 24px 64px;
  background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; }
h1 { font-size: 25px; font-weight: 650; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; font-weight: 650; margin: 44px 0 12px;
  padding-bottom: 6px; border-bottom: 1px solid var(--line); }
p { margin: 0 0 12px; color: var(--soft); max-width: 78ch;
  overflow-wrap: anywhere; }
nav { margin-top: 8px; display: flex; flex-wrap: wrap; gap: 2px 16px;
  font-size: 14px; }
a { color: var(--accent); text-decoration: none; }
a:hover, a:focus { text-decoration: underline; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 0 0 14px; }
.tiles div { flex: 1 1 150px; background: var(--card); padding: 12px 16px;
  border: 1px solid var(--line); border-radius: 8px; }
.tiles dt { color: var(--soft); font-size: 13px; }
.tiles dd { margin: 0; font-size: 25px; font-weight: 650;
  font-variant-numeric: tabular-nums; }
.tiles dd.range { color: var(--soft); font-size: 13px; font-weight: 400; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 5px 18px 5px 0; border-bottom: 1px solid var(--line);
  text-align: right; vertical-align: top; }
tbody th, thead th:first-child { position: sticky; left: 0;
  background: var(--page); }
thead th { color: var(--soft); font-weight: 500; }
tbody th { font-weight: 550; }
th:first-child, .text { text-align: left; }
td.text { color: var(--soft); white-space: normal; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--accent); font-size: 14px; }
details table { margin-top: 8px; }
details th, details td { font: 13px/1.5 ui-monospace, monospace; }
figure { margin: 0 0 14px; overflow-x: auto; }
figcaption { font-size: 14px; font-weight: 550; margin-bottom: 4px; }
.chart { display: block; width: 100%; height: auto; padding: 8px;
  background: #fff; border: 1px solid var(--line); border-radius: 8px; }
svg.cell { max-width: 100%; height: auto; display: block; }
svg.cell text { font: 12.5px system-ui, 'DejaVu Sans', sans-serif;
  text-anchor: middle; fill: var(--text); }
svg.cell path { fill: none; stroke: var(--accent); stroke-width: 1.6; }
svg.cell .skip path { stroke: var(--soft); }
svg.cell .output path { stroke: var(--soft); stroke-dasharray: 4 4; }
svg.cell circle { fill: var(--card); stroke: var(--text);
  stroke-width: 1.4; }
svg.cell .unused { opacity: .35; }
.head { fill: var(--accent); } .output .head { fill: var(--soft); }
.columns { display: grid; gap: 12px 28px;
  grid-template-columns: repeat(auto-fit, minmax(min(330px, 100%), 1fr)); }
.columns .cards { margin-top: 12px; }
.columns > div { min-width: 0; overflow-x: auto; }
.columns h3 { font-size: 15px; font-weight: 600; margin: 0 0 8px;
  overflow-wrap: anywhere; }
.cards { display: grid; gap: 12px;
  grid-template-columns: repeat(auto-fill, minmax(min(330px, 100%), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; padding: 10px; min-width: 0; }
.pictures { display: grid; grid-template-columns: repeat(4, 1fr); gap: 4px; }
.pictures img { width: 100%; aspect-ratio: 1; object-fit: contain;
  image-rendering: pixelated; border-radius: 3px; display: block; }
.card h3 { font-size: 14px; font-weight: 600; margin: 8px 0 0; display: flex;
  gap: 10px; }
.card h3 span { font-weight: 400; color: var(--soft); }
.card h3 .right { color: var(--accent); margin-left: auto; }
.card h3 .wrong { color: var(--alarm); margin-left: auto; font-weight: 600; }
.card p { font-size: 12px; margin: 0; }
@media (max-width: 600px) { body { padding: 20px 16px 48px; }
  th, td { padding-right: 10px; } th:first-child { max-width: 38vw; }
  .chart { min-width: 620px; } }
"""


def page(title: str, sections: Mapping[str, str], *, before: str = '') -> str:
  """Returns the whole page.

  Args:
    title: of the page.
    sections: HTML by heading.
    before: HTML in front of the sections.
  """
  ids = {heading: heading.lower().replace(' ', '-') for heading in sections}
  links = ''.join(
    f'<a href="#{_escape(ids[heading])}">{_escape(heading)}</a>'
    for heading in sections
  )
  body = '\n'.join(
    f'<section id="{_escape(ids[heading])}"><h2>{_escape(heading)}</h2>\n'
    f'{content}</section>'
    for heading, content in sections.items()
  )
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<title>{_escape(title)}</title><style>{_COLOURS}{_STYLE}</style></head>\n<body>'
    f'<header><h1>{_escape(title)}</h1>'
    f'<nav aria-label="Sections">{links}</nav></header>\n'
    f'{before}<main>{body}</main></body></html>\n'
  )


def paragraph(text: str) -> str:
  """Returns a paragraph."""
  return f'<p>{_escape(text)}</p>\n'


def tiles(items: Sequence[tuple[str, str, str]]) -> str:
  """Returns large figures: (name, figure, small print)."""
  return (
    '<dl class="tiles">'
    + ''.join(
      f'<div><dt>{_escape(name)}</dt><dd>{_escape(value)}</dd>'
      f'<dd class="range">{_escape(detail)}</dd></div>'
      for name, value, detail in items
    )
    + '</dl>\n'
  )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """Returns a table; the first cell of a row is its heading.

  The columns 'meaning' and 'value' hold text, all others numbers.
  """
  kinds = [
    ' class="text"' if head in ('meaning', 'value') else '' for head in heads
  ]
  head = ''.join(
    f'<th scope="col"{kind}>{_breakable(name)}</th>'
    for name, kind in zip(heads, kinds, strict=True)
  )
  body = '\n'.join(
    f'<tr><th scope="row">{_breakable(first)}</th>'
    + ''.join(
      f'<td{kind}>{_breakable(cell)}</td>'
      for cell, kind in zip(rest, kinds[1:], strict=True)
    )
    + '</tr>'
    for first, *rest in rows
  )
  return (
    # Focusable, so that keys scroll a table that is too wide.
    '<div class="scroll" tabindex="0" role="group" aria-label="Table">'
    f'<table><thead><tr>{head}</tr></thead>\n'
    f'<tbody>{body}</tbody></table></div>\n'
  )


def folded(label: str, rows: Sequence[Sequence[str]]) -> str:
  """Returns a table of fields that opens on a click."""
  return (
    f'<details><summary>{_escape(label)}</summary>'
    f'{table(("field", "value"), rows)}</details>\n'
  )


def figure(svg: str, caption: str) -> str:
  """Returns an SVG drawing, which describes itself; '' is no caption."""
  head = f'<figcaption>{_escape(caption)}</figcaption>' if caption else ''
  return f'<figure>{head}{svg}</figure>\n'


def chart(svg: str, caption: str, spoken: str) -> str:
  """Returns a chart as an image, so that its ids cannot clash with others.

  Args:
    svg: text of an SVG file.
    caption: above the chart; '' for none.
    spoken: what the chart shows, for those who cannot see it.
  """
  data = base64.b64encode(svg.encode()).decode()
  return figure(
    f'<img class="chart" src="data:image/svg+xml;base64,{data}" '
    f'alt="{_escape(f"{caption} {spoken}".strip())}">',
    caption,
  )


def card(
  pictures: Mapping[str, str],
  *,
  title: str,
  text: str,
  detail: str,
  verdict: str,
) -> str:
  """Returns the pictures of one clip with its description.

  Args:
    pictures: base64 PNG files by name.
    title: in bold.
    text: beside the title.
    detail: in small print.
    verdict: 'right', 'wrong' or ''.
  """
  images = ''.join(
    f'<img src="data:image/png;base64,{data}" title="{_escape(name)}" '
    f'alt="{_escape(f"{name} of {detail}")}">'
    for name, data in pictures.items()
  )
  mark = f'<span class="{verdict}">{verdict}</span>' if verdict else ''
  return (
    f'<article class="card"><div class="pictures">{images}</div>'
    f'<h3>{_escape(title)} <span>{_escape(text)}</span>{mark}</h3>'
    f'<p>{_escape(detail)}</p></article>'
  )


def cards(items: Sequence[str]) -> str:
  """Returns cards in a grid."""
  return '<div class="cards">' + '\n'.join(items) + '</div>\n'


def columns(items: Sequence[tuple[str, str]]) -> str:
  """Returns (heading, HTML) side by side, as far as the width allows."""
  return (
    '<div class="columns">'
    + '\n'.join(
      f'<div><h3>{_escape(heading)}</h3>{content}</div>'
      for heading, content in items
    )
    + '</div>\n'
  )


def _breakable(text: object) -> str:
  """A name that may break into lines at its slashes and underscores."""
  escaped = _escape(text)
  # No entity of HTML has these characters.
  return escaped.replace('/', '/<wbr>').replace('_', '_<wbr>')


def _escape(text: object) -> str:
  return html.escape(str(text))
