"""Charts of a study as SVG text."""

from collections.abc import Mapping

from nasfas_jax.report import charts


def draw(runs, protocol: str, figures: Mapping) -> dict[str, str]:
  """The charts that the finished runs allow, by file name.

  Args:
    runs: `pages.Runs`.
    protocol: that of the random genotypes and of the supernets' searches.
    figures: the content of study.json.
  """
  found = {}
  if figures['random']:
    found['random.svg'] = _random(runs, protocol, figures['random'])
  if figures['supernets']:
    found['supernets.svg'] = _supernets(protocol, figures['supernets'])
  return found


def _random(runs, protocol: str, among: Mapping) -> str:
  """Random genotypes as a histogram, searched ones as marks below it."""
  with charts.svg_figure(5.5, 2.8) as (figure, file):
    axes = figure.subplots()
    axes.hist(among['auc']['values'], bins=12, color=charts.MUTED, alpha=0.5)
    for number, row in enumerate(among['percentiles']):
      values = runs.values(protocol, row, 'auc')
      axes.plot(
        values, [-0.6 * (number + 1)] * len(values), 'o', ms=4, label=row
      )
    axes.set_xlabel('test AUC')
    axes.set_ylabel('random genotypes')
    axes.set_title(protocol)
    axes.legend(loc='upper left')
  return file.getvalue()


def _supernets(protocol: str, supernets: Mapping) -> str:
  """Rank correlation of every supernet, on dev and on test."""
  with charts.svg_figure(5.5, 2.8) as (figure, file):
    axes = figure.subplots()
    names = list(supernets)
    for offset, (key, label) in enumerate(
      (('spearman_dev_auc', 'dev AUC'), ('spearman_auc', 'test AUC'))
    ):
      axes.bar(
        [place + 0.35 * offset for place in range(len(names))],
        [supernets[name][key] or 0.0 for name in names],
        width=0.35,
        label=label,
      )
    labels = [name.removeprefix(f'{protocol}/') for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=45, ha='right')
    axes.set_ylabel('Spearman correlation')
    axes.set_ylim(-1, 1)
    axes.legend()
  return file.getvalue()
