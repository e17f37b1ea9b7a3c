"""Charts of a run as SVG text, drawn with Matplotlib.

Every function takes plain data and returns the text of one SVG file. The same
data gives the same text. Rates are in [0, 1].
"""

import contextlib
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nasfas_jax.report import style

_DARK = '#24303a'
MUTED = '#7b8794'
_LINES = ('#24557a', '#c8553d', '#1b7f79', '#8a6bb1', '#b58b00', '#7b8794')
_STYLE = {
  'axes.axisbelow': True,
  'axes.edgecolor': '#b4bcc4',
  'axes.grid': True,
  'axes.labelcolor': _DARK,
  'axes.prop_cycle': matplotlib.cycler(color=_LINES),
  'axes.spines.right': False,
  'axes.spines.top': False,
  'axes.titlecolor': _DARK,
  'axes.titlelocation': 'left',
  'axes.titlesize': 9,
  'figure.facecolor': 'none',
  'font.family': 'DejaVu Sans',
  'font.size': 8,
  'grid.color': '#e6e9ec',
  'grid.linewidth': 0.7,
  'legend.frameon': False,
  'lines.linewidth': 1.5,
  'savefig.facecolor': 'none',
  # Without a salt, the element ids are random.
  'svg.hashsalt': 'nasfas_jax',
  # Names come from data: a dollar sign does not start a formula.
  'text.parse_math': False,
  'xtick.color': MUTED,
  'xtick.labelcolor': _DARK,
  'ytick.color': MUTED,
  'ytick.labelcolor': _DARK,
}
# The most points of a line and snapshots of a heatmap; more are not visible.
_MAX_POINTS = 1000
_MAX_SNAPSHOTS = 200
_BINS = 40
_DASHES = ('-', '--', ':')
_DET_TICKS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
_EDGES_PER_ROW = 10


def training_curves(entries: Sequence[Mapping[str, object]]) -> str:
  """Draws every scalar of one phase over the steps.

  Args:
    entries: the phase's lines of metrics.jsonl. The losses (names that end in
      `_loss`) share the first panel; every other number has its own.
  """
  names = list(dict.fromkeys(n for entry in entries for n in entry))
  names = [
    n
    for n in names
    if n != 'step' and any(_is_number(entry.get(n)) for entry in entries)
  ]
  losses = [n for n in names if n.endswith('_loss')]
  panels = [losses] if losses else []
  panels += [[n] for n in names if n not in losses]
  columns = 3
  rows = -(-len(panels) // columns)
  with svg_figure(10.5, 2.3 * rows) as (figure, file):
    for place, panel in enumerate(panels):
      axes = figure.add_subplot(rows, columns, place + 1)
      values = [_plot_line(axes, entries, name) for name in panel]
      axes.set_title('loss' if panel is losses else _text(panel[0]))
      axes.set_xlabel('step')
      axes.margins(x=0.02)
      if panel is losses:
        axes.legend()
        everything = np.concatenate(values)
        if everything.min() > 0 and everything.max() > 20 * everything.min():
          axes.set_yscale('log')
          axes.yaxis.set_major_formatter(_plain_number)
          axes.yaxis.set_minor_formatter('')
  return file.getvalue()


def alphas_over_time(
  steps: Sequence[int],
  weights: np.ndarray,
  operations: Sequence[str],
  edges: Sequence[str],
  kept: Mapping[int, str],
  highest: float,
) -> str:
  """Draws the operation weights of one cell, a heatmap for each edge.

  Args:
    steps: [T], ascending.
    weights: floats [T, edges, operations], softmax over the operations.
    operations: their names.
    edges: their names, in characters that DejaVu Sans has.
    kept: the operation that the genotype keeps, by the edge's place.
    highest: the weight at the bright end of the colours; 0 is the dark end.
  """
  chosen = _thin(len(steps), _MAX_SNAPSHOTS)
  steps, weights = np.asarray(steps)[chosen], weights[chosen]
  rows = -(-len(edges) // _EDGES_PER_ROW)
  columns = min(len(edges), _EDGES_PER_ROW)
  with svg_figure(10.5, rows * (0.7 + 0.145 * len(operations))) as (
    figure,
    file,
  ):
    grid = figure.subplots(
      rows, columns, sharex=True, sharey=True, squeeze=False
    )
    for place, axes in enumerate(grid.flat):
      axes.grid(False)
      if place >= len(edges):
        axes.set_axis_off()
        continue
      image = axes.imshow(
        weights[:, place].T,
        aspect='auto',
        interpolation='nearest',
        vmin=0,
        vmax=highest,
        extent=(0, len(steps), len(operations) - 0.5, -0.5),
      )
      axes.set_title(edges[place], loc='center')
      axes.set_yticks(range(len(operations)), [_text(o) for o in operations])
      axes.set_xticks(
        (0, len(steps)), (f'{steps[0]}', f'{steps[-1]}'), fontsize=6.5
      )
      for tick, side in zip(
        axes.get_xticklabels(), ('left', 'right'), strict=True
      ):
        tick.set_horizontalalignment(side)
      axes.tick_params(length=0)
      axes.spines[:].set_visible(False)
      if kept.get(place) in operations:
        # An arrowhead at the row of the kept operation.
        (arrow,) = axes.plot(
          1.03,
          operations.index(kept[place]),
          marker='<',
          markersize=6,
          color=style.SPOOF,
          transform=axes.get_yaxis_transform(),
          clip_on=False,
        )
        # It is between the panels and must not narrow its own.
        arrow.set_in_layout(False)
    figure.get_layout_engine().set(w_pad=0.07)
    bar = figure.colorbar(image, ax=grid, aspect=12, pad=0.015, fraction=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=7)
  return file.getvalue()


def roc_curves(
  curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
  operating_points: Mapping[str, tuple[float, float]],
) -> str:
  """Draws ROC curves on a linear and on a logarithmic FPR axis.

  Args:
    curves: (fpr, tpr) by the name of a split, from (0, 0) to (1, 1).
    operating_points: (fpr, tpr) at the threshold in use, by split.
  """
  positive = [fpr[fpr > 0].min() for fpr, _ in curves.values()]
  with svg_figure(9.5, 3.7) as (figure, file):
    linear, logarithmic = figure.subplots(1, 2, sharey=True)
    for axes in (linear, logarithmic):
      for colour, (name, curve) in zip(_LINES, curves.items(), strict=False):
        fpr, tpr = _corners(*curve)
        axes.plot(fpr, tpr, color=colour, label=_text(name))
        # A logarithmic axis has no rate of 0; a marker there, which is not
        # clipped, would stretch the figure without limit.
        point = operating_points.get(name)
        if point and (axes is linear or point[0] > 0):
          _dot(axes, *point, colour)
      axes.set_xlabel('FPR: spoof clips accepted')
      axes.set_ylim(-0.01, 1.01)
    linear.set_ylabel('TPR: live clips accepted')
    linear.plot((0, 1), (0, 1), color='#c5ccd3', linestyle='--', linewidth=1)
    linear.set_xlim(-0.01, 1.01)
    linear.legend(loc='lower right')
    linear.set_title('the dot is the threshold in use')
    logarithmic.set_xscale('log')
    logarithmic.xaxis.set_major_formatter(_plain_number)
    logarithmic.xaxis.set_minor_formatter('')
    logarithmic.set_xlim(min(positive) / 1.5, 1)
    logarithmic.set_title('the same, FPR on a logarithmic scale')
  return file.getvalue()


def _dot(axes, x, y, colour: str) -> None:
  """Marks the threshold in use on a curve."""
  axes.plot(
    *(x, y, 'o'),
    color=colour,
    markeredgecolor='white',
    markersize=7,
    clip_on=False,
    zorder=3,
  )


def det_curves(
  curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
  operating_points: Mapping[str, tuple[float, float]],
) -> str:
  """Draws detection error trade-offs on normal-deviate axes.

  Args:
    curves: (APCER, BPCER) by name, see `metrics.det`. Rates below 0.1 % are
      drawn at the edge.
    operating_points: (APCER, BPCER) at the threshold in use, by name.
  """
  with svg_figure(9.5, 4.8) as (figure, file):
    axes, aside = figure.subplots(1, 2, width_ratios=(5, 3))
    # The legend has a place of its own, whatever the number of curves.
    aside.set_axis_off()
    for place, (name, curve) in enumerate(curves.items()):
      colour = _LINES[place % len(_LINES)]
      style = _DASHES[place // len(_LINES) % len(_DASHES)]
      axes.plot(
        *map(_deviates, _corners(*curve)),
        color=colour,
        linestyle=style,
        label=_text(name),
      )
      if name in operating_points:
        point = (_deviates(np.array([x])) for x in operating_points[name])
        _dot(axes, *point, colour)
    ticks = _deviates(np.array(_DET_TICKS))
    names = [f'{100 * tick:g}' for tick in _DET_TICKS]
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_ylim(ticks[0], ticks[-1])
    axes.plot(ticks, ticks, color='#c5ccd3', linestyle='--', linewidth=1)
    axes.set_xlabel('APCER (%): spoof clips accepted')
    axes.set_ylabel('BPCER (%): live clips rejected')
    axes.set_title('the dot is the threshold in use')
    aside.legend(*axes.get_legend_handles_labels(), loc='upper left')
  return file.getvalue()


def reliability(bins: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
  """Draws how often clips are live against the probability that they are.

  Args:
    bins: of each split: 'probability', 'live' and 'clips', see
      `calibration.judge`. The area of a marker grows with its clips.
  """
  with svg_figure(9.5, 3.7) as (figure, file):
    axes, numbers = figure.subplots(1, 2)
    axes.plot((0, 1), (0, 1), color='#c5ccd3', linestyle='--', linewidth=1)
    for colour, (name, found) in zip(_LINES, bins.items(), strict=False):
      x = np.array([entry['probability'] for entry in found])
      y = np.array([entry['live'] for entry in found])
      clips = np.array([entry['clips'] for entry in found])
      axes.plot(x, y, 'o-', color=colour, markersize=4, label=_text(name))
      numbers.plot(x, clips / clips.sum(), 'o-', color=colour, markersize=4)
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel('share of live clips')
    axes.legend(loc='upper left')
    numbers.set_ylim(0, None)
    numbers.set_ylabel('share of all clips')
    for panel in (axes, numbers):
      panel.set_xlim(-0.02, 1.02)
      panel.set_xlabel('probability of live, from the score')
  return file.getvalue()


def scores_over_time(
  parts: Sequence[tuple[int, int, float]], threshold: float
) -> str:
  """Draws the scores of a video's parts over its frames.

  Args:
    parts: (first frame, last frame, score) of each, at least one.
    threshold: live if score > threshold; drawn as a line.
  """
  places = [(first + last) / 2 for first, last, _ in parts]
  scores = [score for _, _, score in parts]
  with svg_figure(3.8, 2.3) as (figure, file):
    axes = figure.add_subplot()
    axes.plot(places, scores, color=MUTED)
    for live, marker, colour in (
      (True, 'o', style.LIVE),
      (False, 's', style.SPOOF),
    ):
      chosen = [
        i for i, score in enumerate(scores) if (score > threshold) == live
      ]
      if chosen:
        axes.plot(
          [places[i] for i in chosen],
          [scores[i] for i in chosen],
          marker,
          color=colour,
          label='above' if live else 'not above',
        )
    axes.axhline(
      threshold, color=_DARK, linestyle='--', linewidth=1, label='threshold'
    )
    axes.margins(y=0.15)
    axes.set_xlim(0, max(1, parts[-1][1]))
    axes.set_xlabel('frame')
    axes.set_ylabel('score')
    figure.legend(loc='outside upper left', ncols=3)
  return file.getvalue()


def score_histograms(
  scores: Mapping[str, Mapping[str, np.ndarray]], threshold: float | None
) -> str:
  """Draws a histogram for every attack type (rows) and split (columns).

  Args:
    scores: float arrays by split, then by attack type; 'live' is first.
    threshold: live if score > threshold; drawn as a line.
  """
  kinds = sorted({kind for split in scores.values() for kind in split})
  kinds.sort(key=lambda kind: kind != 'live')
  everything = [x for split in scores.values() for x in split.values()]
  low, high = np.min(np.hstack(everything)), np.max(np.hstack(everything))
  if low == high:
    low, high = low - 0.5, high + 0.5
  bins = np.linspace(low, high, _BINS + 1)
  with svg_figure(10.5, 0.5 + 0.72 * len(kinds)) as (figure, file):
    grid = figure.subplots(len(kinds), len(scores), sharex=True, squeeze=False)
    for column, (split, by_kind) in zip(grid.T, scores.items(), strict=True):
      column[0].set_title(_text(split))
      column[-1].set_xlabel('score (evidence for live)')
      for axes, kind in zip(column, kinds, strict=True):
        axes.grid(False, axis='y')
        axes.set_yticks(())
        axes.spines['left'].set_visible(False)
        axes.set_xlim(bins[0], bins[-1])
        if axes in grid[:, 0]:
          axes.set_ylabel(
            _text(kind), rotation=0, horizontalalignment='right', y=0.3
          )
        values = by_kind.get(kind, np.zeros(0))
        colour = style.LIVE if kind == 'live' else style.SPOOF
        axes.hist(values, bins, color=colour, alpha=0.85)
        if threshold is None:
          continue
        axes.axvline(threshold, color=_DARK, linestyle='--', linewidth=1)
        wrong = (values <= threshold) == (kind == 'live')
        axes.text(
          0.995,
          0.9,
          f'{wrong.sum()} of {len(values)} wrong',
          transform=axes.transAxes,
          horizontalalignment='right',
          verticalalignment='top',
          fontsize=7.5,
          color=_DARK,
          bbox={'facecolor': 'white', 'edgecolor': 'none', 'pad': 1},
        )
  return file.getvalue()


@contextlib.contextmanager
def svg_figure(width: float, height: float) -> Iterator[tuple]:
  """Yields a figure and the text file that holds its SVG afterwards."""
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(width, height), layout='constrained')
    file = io.StringIO()
    yield figure, file
    figure.savefig(file, format='svg', dpi=144, metadata={'Date': None})


def _plot_line(
  axes: Axes, entries: Sequence[Mapping[str, object]], name: str
) -> np.ndarray:
  points = [(e['step'], e[name]) for e in entries if _is_number(e.get(name))]
  points = np.asarray(points, np.float64)[_thin(len(points), _MAX_POINTS)]
  axes.plot(points[:, 0], points[:, 1], label=_text(name))
  if len(points) == 1:
    axes.plot(points[:, 0], points[:, 1], 'o', color=axes.lines[-1].get_color())
  return points[:, 1]


def _plain_number(value: float, position: int) -> str:
  """A tick label without a formula."""
  return f'{value:g}'


def _is_number(value: object) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)


def _thin(length: int, most: int) -> np.ndarray:
  """At most `most` evenly spread places of `length`, including both ends."""
  return np.unique(
    np.round(np.linspace(0, length - 1, min(length, most))).astype(int)
  )


def _deviates(rates: np.ndarray) -> np.ndarray:
  """The normal deviates of rates, which are clipped to 0.1 and 99.9 %."""
  normal = statistics.NormalDist()
  clipped = np.clip(rates, _DET_TICKS[0], 1 - _DET_TICKS[0])
  return np.array([normal.inv_cdf(rate) for rate in clipped.tolist()])


def _corners(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Drops the points inside vertical and horizontal runs of a curve."""
  inner = (
    ((x[1:-1] == x[:-2]) & (x[1:-1] == x[2:]))
    | ((y[1:-1] == y[:-2]) & (y[1:-1] == y[2:]))
  )  # fmt: skip
  keep = np.concatenate(([True], ~inner, [True]))
  return x[keep], y[keep]


def _text(name: object) -> str:
  """A name in ASCII, which every font has."""
  text = str(name).encode('ascii', 'backslashreplace').decode()
  text = ''.join(c if c.isprintable() else '?' for c in text)
  # A legend leaves out names that start with an underscore.
  return f' {text}' if text.startswith('_') else text
