"""A judged clip as HTML: nothing from outside becomes a tag or a script."""

import base64
import xml.etree.ElementTree

import cv2
import numpy as np
import pytest
from test_page import Checker

from nasfas_jax.report import charts, item_view, style


def test_random_texts_stay_texts():
  rng = np.random.default_rng(0)
  pieces = np.array(
    ['<', '>', '"', "'", '&', '&lt;', '</dd>', '<img src=x onerror=alert(1)>']
    + ['${x}', '{{value}}', '`', '\\', 'é', '\u202e', 'a', ' ', '<!--', '@']
  )
  for _ in range(2000):
    text = ''.join(rng.choice(pieces, rng.integers(1, 12)))
    shown = item_view.render(
      heading=text, sentence=text, facts=[(text, text)], notes=[text]
    )
    checker = Checker(shown)
    assert [tag for tag, _ in checker.tags] == (
      ['article', 'h2', 'p', 'dl', 'dt', 'dd', 'ul', 'li']
    )
    assert ''.join(checker.text) == 5 * text
    assert not set('${}`\\') & set(shown)


def test_pictures_come_back_as_they_were():
  image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
  svg = charts.scores_over_time([(0, 7, 0.2), (8, 15, 0.6)], 0.4)
  shown = item_view.render(
    heading='h',
    sentence='s',
    decision='spoof',
    pictures=[
      item_view.Picture('crop', image, 'about "it"', 'a "face"', kind='wide'),
      item_view.Picture('curve', svg, '', 'two points', kind='chart'),
    ],
  )
  tags = Checker(shown).tags
  first, second = (attrs for tag, attrs in tags if tag == 'img')
  assert first['alt'] == 'a "face"' and second['alt'] == 'two points'
  kind, _, data = first['src'].partition(',')
  assert kind == 'data:image/png;base64'
  found = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), 1)
  np.testing.assert_array_equal(found[..., ::-1], image)
  kind, _, data = second['src'].partition(',')
  assert kind == 'data:image/svg+xml;base64'
  assert base64.b64decode(data).decode() == svg
  assert tags[0][1]['class'] == 'item spoof'


def test_wrong_kinds_are_refused():
  with pytest.raises(ValueError, match="decision is 'lively'; allowed: live"):
    item_view.render(heading='', sentence='', decision='lively')
  picture = item_view.Picture('', np.zeros((1, 1, 3), np.uint8), '', '', 'big')
  with pytest.raises(ValueError, match="kind is 'big'; allowed: wide"):
    item_view.render(heading='', sentence='', pictures=[picture])


def test_the_curve_has_a_mark_for_each_part():
  parts = [(0, 7, 0.2), (8, 15, 0.6), (16, 23, 0.4)]
  svg = charts.scores_over_time(parts, 0.4)
  assert svg == charts.scores_over_time(parts, 0.4)
  root = xml.etree.ElementTree.fromstring(svg)
  space = '{http://www.w3.org/2000/svg}'
  fills = [use.get('style', '') for use in root.iter(f'{space}use')]
  # One more of each in the legend; 0.4 is not above 0.4.
  assert sum(style.LIVE in fill for fill in fills) == 1 + 1
  assert sum(style.SPOOF in fill for fill in fills) == 2 + 1
  # A kind that no part has is not in the legend.
  assert style.SPOOF not in charts.scores_over_time(parts[1:2], 0.4)
