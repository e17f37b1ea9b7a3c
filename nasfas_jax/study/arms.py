"""Questions that compare trainings, for new subjects or for unseen rooms.

Every arm is a change of the plain training. All arms are first compared where
none of the unseen rooms plays a part: on the dev subjects of the seen rooms
('fit'), or on a seen room that each seed leaves out ('generalise'). There the
best after the first seeds may go on alone. The arm with the lowest mean HTER,
the winner, and the plain training are then judged once on the unseen rooms, and
with 'generalise' on attack types, of which each seed leaves one out. A run is
named choose/ARM/seedN, final/ARM/seedN or types/ARM/seedN.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nasfas_jax import files
from nasfas_jax.report import charts
from nasfas_jax.study import jobs, markdown, statistics
from nasfas_jax.study.jobs import Job
from nasfas_jax.study.plan import to_flags

PLAIN = 'plain'
STAGES = CHOOSE, FINAL, TYPES = 'choose', 'final', 'types'
# Stage -> where its figures come from, on the page.
TITLES = {
  CHOOSE: 'seen rooms',
  FINAL: 'unseen rooms',
  TYPES: 'unseen attack types',
}
# Figure -> its name on the page; lower is better for the first.
FIGURES = {'hter': 'HTER', 'auc': 'AUC'}
MAIN = 'hter'
# The split whose clips set the threshold. Its HTER is the EER.
DEV = 'dev'
# The goals where plain training has not been: on unseen rooms and types.
GOAL_HTER, GOAL_SHARE = 0.15, 0.75
# Fields of an evaluation, which change no training.
EVALUATION = 'evaluate.'
# What an evaluation of a run takes from its own config; the rest is the run's.
READ = ('data.data_dir', 'data.builder_config', 'threshold_source', EVALUATION)


_NOTE_ON_TYPES = (
  ' On unseen attack types the seeds of a type are averaged first, and the '
  'interval is that over types; the live clips are the same for all.'
)


class Question(NamedTuple):
  """How trainings are compared.

  Attributes:
    title: of its page.
    split: of the protocols to choose on, whose HTER decides. Where it is `DEV`,
      the trainings are those of the final stage, too.
    where: what that split is, in words.
    note: what a reader must know of its figures, in words.
  """

  title: str
  split: str
  where: str
  note: str


QUESTIONS = {
  'fit': Question(
    'Which settings err least on new subjects',
    DEV,
    'the dev subjects of the seen rooms',
    'On seen rooms HTER is the EER, and the intervals leave out the luck of '
    'the subjects, who are the same for every arm and seed.',
  ),
  'generalise': Question(
    'Which training generalises',
    'test',
    'a seen room that each seed leaves out',
    'On seen rooms the seeds take turns among the rooms.',
  ),
}


@dataclasses.dataclass(frozen=True)
class Plan:
  """What is trained.

  Attributes:
    question: a key of `QUESTIONS`.
    arms: name -> the fields that it changes; one is `PLAIN`, with none.
    seeds: of every arm that goes on; the others have the first ones.
    first_seeds: number of seeds after which some arms go on alone.
    keep: number of arms that do, beside the plain one.
    choose_on: protocols of the seen rooms; the seeds take turns.
    choose_fields: of the trainings on those.
    final: the protocol of the unseen rooms.
    types: protocols of unseen attack types; the seeds take turns. With none,
      or if plain training wins, there is no such stage.
    types_fields: of the trainings on those.
    fields: of every run that are not the default, path -> value.
    config: every field of the plain training, as a report says it.
    earlier: stage -> arm -> its row in the report of another workdir, see
      `compare`. Those trainings are not run again; of the final stage only if
      all are there, since its intervals need the scores of each.
    num_samples: of the bootstrap.
  """

  question: str
  arms: Mapping[str, Mapping[str, Any]]
  seeds: Sequence[int]
  first_seeds: int
  keep: int
  choose_on: Sequence[str]
  choose_fields: Mapping[str, Any]
  final: str
  types: Sequence[str]
  types_fields: Mapping[str, Any]
  fields: Mapping[str, Any]
  config: Mapping[str, Any]
  earlier: Mapping[str, Mapping[str, Mapping[str, Any]]]
  num_samples: int

  @property
  def choose_by(self) -> str:
    """The split that decides in the stage that chooses."""
    return QUESTIONS[self.question].split


def run_name(stage: str, arm: str, seed: int) -> str:
  """The name of a run."""
  return f'{stage}/{arm}/seed{seed}'


def _is_trained(fields: Mapping[str, Any]) -> bool:
  """Whether an arm has trainings; else it evaluates those of the plain arm."""
  return not fields or not all(path.startswith(EVALUATION) for path in fields)


def _source(plan: Plan, stage: str, arm: str, seed: int) -> str:
  """The run whose network a run evaluates; '' if it trains its own."""
  trained_as = arm if _is_trained(plan.arms[arm]) else PLAIN
  trained_in = CHOOSE if plan.choose_by == DEV and stage == FINAL else stage
  source = run_name(trained_in, trained_as, seed)
  return '' if source == run_name(stage, arm, seed) else source


def _earlier_figures(
  plan: Plan, stage: str, arm: str, seed: int
) -> dict[str, float] | None:
  """What an earlier report says of a run, by name; None: nothing."""
  row = plan.earlier.get(stage, {}).get(arm)
  if stage == FINAL or not row or seed not in row['seeds']:
    return None
  place = row['seeds'].index(seed)
  return {name: row[name]['values'][place] for name in FIGURES}


def _earlier_final(plan: Plan, winner: str | None) -> Mapping | None:
  """The final stage of an earlier report; None if it is not whole."""
  rows = plan.earlier.get(FINAL, {})
  wanted = {PLAIN, winner}
  if set(rows) != wanted or any(
    set(rows[arm]['seeds']) != set(plan.seeds) for arm in wanted
  ):
    return None
  return rows


def jobs_of(
  plan: Plan,
  stage: str,
  arms: Sequence[str],
  seeds: Sequence[int] | None = None,
) -> list[list[Job]]:
  """The runs of a stage: trainings, then what needs them to be finished.

  The first seed of every arm comes first. What an earlier report knows is left
  out.

  Args:
    plan: what is trained.
    stage: `CHOOSE`, `FINAL` or `TYPES`.
    arms: those that take part.
    seeds: some of the plan's; None: all.
  """
  waves = [[], []]
  for seed in plan.seeds:
    if seeds is not None and seed not in seeds:
      continue
    on, more = {
      CHOOSE: (plan.choose_on, plan.choose_fields),
      FINAL: ((plan.final,), {}),
      TYPES: (plan.types, plan.types_fields),
    }[stage]
    # By the seed alone, so that an earlier report's seed means the same.
    protocol = on[seed % len(on)]
    new = [
      arm for arm in arms if _earlier_figures(plan, stage, arm, seed) is None
    ]
    sources = {_source(plan, stage, arm, seed) for arm in new}
    for arm in arms:
      name = run_name(stage, arm, seed)
      if arm not in new and name not in sources:
        continue
      fields = plan.arms[arm]
      own = {'protocol': protocol, 'seed': seed}
      if source := _source(plan, stage, arm, seed):
        both = {**plan.fields, **fields}
        read = {p: v for p, v in both.items() if p.startswith(READ)}
        flags = to_flags(read, own)
        inputs = (('config.checkpoint', source),)
        waves[1].append(Job(name, ('--config=evaluate', *flags), inputs))
      else:
        flags = to_flags(plan.fields, more, fields, own)
        waves[0].append(Job(name, ('--config=train', *flags)))
  return waves


def read(
  plan: Plan, workdir: pathlib.Path, stage: str, finished: Sequence[str]
) -> dict[str, dict[str, list]]:
  """The results of a stage.

  Returns:
    Arm -> 'seeds', those that are finished; each of `FIGURES`; in the final
    stage 'threshold', and 'scores', the files of their scores.
  """
  split = plan.choose_by if stage == CHOOSE else 'test'
  found = {}
  for arm in plan.arms:
    rows = {name: [] for name in ('seeds', *FIGURES, 'threshold', 'scores')}
    for seed in plan.seeds:
      name = run_name(stage, arm, seed)
      if name in finished:
        results = files.read_json(workdir / name / 'results.json')
        figures = results['splits'][split]
      elif not (figures := _earlier_figures(plan, stage, arm, seed)):
        continue
      rows['seeds'].append(seed)
      for figure in FIGURES:
        rows[figure].append(figures[figure])
      if stage == FINAL:
        rows['threshold'].append(results['threshold']['value'])
        rows['scores'].append(workdir / name / 'scores.csv')
    found[arm] = rows
  return found


def kept(plan: Plan, found: Mapping[str, Mapping]) -> tuple[str, ...]:
  """The arms that are trained from all seeds: the best of the first ones.

  Plain training is always among them; of equal arms the first goes on. Empty
  before all runs of the first seeds are finished: they are chosen once.
  """
  first = plan.seeds[: plan.first_seeds]
  if any(not set(first) <= set(rows['seeds']) for rows in found.values()):
    return ()

  def mean(arm: str) -> float:
    by_seed = dict(zip(found[arm]['seeds'], found[arm][MAIN], strict=True))
    return float(np.mean([by_seed[seed] for seed in first]))

  others = sorted((arm for arm in found if arm != PLAIN), key=mean)
  return tuple(
    arm for arm in found if arm == PLAIN or arm in others[: plan.keep]
  )


def choose(plan: Plan, found: Mapping[str, Mapping]) -> str | None:
  """The arm with the lowest mean HTER; of equal ones, the first.

  None before all runs of the stage are finished: the choice is made once.
  """
  arms = kept(plan, found)
  if not arms or any(len(found[a]['seeds']) < len(plan.seeds) for a in arms):
    return None
  return min(arms, key=lambda arm: float(np.mean(found[arm][MAIN])))


def compare(
  plan: Plan, stage: str, found: Mapping[str, Mapping]
) -> dict[str, dict]:
  """Each arm's figures, and its differences from the plain one.

  Differences are paired by seed. In the final stage the interval knows the luck
  of seeds and of subjects. In the stage that chooses it is that over seeds,
  where they test other rooms also of subjects. Of attack types it is that over
  types, whose seeds are averaged first; the live clips are the same for all.
  """
  rows = {}
  for arm, of in found.items():
    if not of['seeds']:
      continue
    row = {'seeds': of['seeds']}
    for name in FIGURES:
      mean = float(np.mean(of[name]))
      many = len(of[name]) > 1
      row[name] = {
        'mean': mean,
        'deviation': float(np.std(of[name], ddof=1)) if many else None,
        'values': of[name],
      }
    shared = [s for s in of['seeds'] if s in found[PLAIN]['seeds']]
    if arm != PLAIN and shared:
      row['difference'] = {
        name: _difference(plan, stage, found[PLAIN], of, shared, name)
        for name in FIGURES
      }
    rows[arm] = row
  return rows


def _difference(plan, stage, plain, other, shared, name):
  """Of other - plain, over the seeds that both have: 'mean', 'low', 'high'.

  The bounds are None where there is but one value to take a spread of.
  """

  def of(rows, field):
    return [rows[field][rows['seeds'].index(seed)] for seed in shared]

  if stage == FINAL:
    scores = (
      [statistics.read_scores(path) for path in of(rows, 'scores')]
      for rows in (plain, other)
    )
    thresholds = of(plain, 'threshold'), of(other, 'threshold')
    found = statistics.paired_difference(
      *scores,
      num_samples=plan.num_samples,
      thresholds=thresholds if name == 'hter' else None,
    )
  else:
    gaps = np.subtract(of(other, name), of(plain, name))
    if stage == TYPES:
      turn = np.array(shared) % len(plan.types)
      gaps = [gaps[turn == number].mean() for number in np.unique(turn)]
    found = statistics.student_interval(gaps)
  return dict(zip(('mean', 'low', 'high'), found, strict=True))


def verdict(
  winner: str | None,
  num_seeds: int,
  final: Mapping[str, Mapping],
  types: Mapping[str, Mapping] | None = None,
) -> str:
  """What the stages after the choice say of the goals, in a few sentences.

  Args:
    winner: see `choose`.
    num_seeds: of a whole stage.
    final: see `compare`.
    types: the same of the stage `TYPES`; None: there is no such stage.
  """
  if winner is None:
    return 'Not known: the arms are not all trained.'
  if winner == PLAIN:
    return 'No arm has a lower mean HTER on the seen rooms than plain training.'
  text = _against_plain(FINAL, winner, final, num_seeds)
  if types is not None:
    text += f' {_against_plain(TYPES, winner, types, num_seeds)}'
  return f'Chosen on seen rooms: {winner}. {text}'


def _against_plain(stage, winner, rows, num_seeds):
  """What a stage says of the goals, once it is whole."""
  both = [rows.get(arm, {'seeds': ()}) for arm in (winner, PLAIN)]
  where = TITLES[stage]
  if any(len(row['seeds']) < num_seeds for row in both):
    done = min(len(row['seeds']) for row in both)
    return f'On {where} {done} of {num_seeds} seeds are done.'
  own, plain = (row['hter']['mean'] for row in both)
  apart = rows[winner]['difference']['hter']
  goals = {
    f'at most {GOAL_HTER}': own <= GOAL_HTER,
    'a quarter below plain training': own <= GOAL_SHARE * plain,
    'an interval off zero': apart['high'] is not None and apart['high'] < 0,
  }
  ends = '; '.join(
    f'{name}: {"reached" if met else "missed"}' for name, met in goals.items()
  )
  return (
    f'On {where} it has an HTER of {own:.3f}, plain training {plain:.3f}: '
    f'{markdown.difference(apart)}. Goals: {ends}.'
  )


def _halving(plan: Plan) -> str:
  """Which arms have fewer seeds, in words."""
  if plan.first_seeds >= len(plan.seeds):
    return ''
  return (
    f'After {plan.first_seeds} seeds only plain training and the best '
    f'{plan.keep} of the others go on. '
  )


def _on_types(plan: Plan) -> str:
  """Where else a winner is judged, in words."""
  if not plan.types:
    return ''
  types = ', '.join(f'`{name}`' for name in plan.types)
  return (
    ' If it is not plain training itself, both are also judged on attack types '
    f'that training has not met, of which the seeds take turns: {types}.'
  )


def page(plan: Plan, content: Mapping) -> str:
  """The page, as Markdown: one chart, one table."""
  question = QUESTIONS[plan.question]
  lines = [
    f'# {question.title}',
    '',
    f'{len(plan.arms)} arms, {len(plan.seeds)} seeds of each, compared by '
    f'their mean HTER on {question.where}. {_halving(plan)}The best arm and '
    f'plain training are then judged on `{plan.final}`.{_on_types(plan)}',
    '',
    f'**{content["verdict"]}**',
    '',
    *(
      [
        f'![HTER of every arm and seed, and the means]({plan.question}.svg)',
        '',
      ]
      if content[CHOOSE]
      else []
    ),
    '| | seeds | HTER | AUC | HTER less that of plain | AUC less that of '
    'plain |',
    '|---|---|---|---|---|---|',
  ]
  for stage, title in TITLES.items():
    for arm, row in content.get(stage, {}).items():
      cells = [f'{arm}, {title}', str(len(row['seeds']))]
      for name in FIGURES:
        cells.append(markdown.cell(row[name]))
      for name in FIGURES:
        cells.append(markdown.difference(row.get('difference', {}).get(name)))
      lines.append(f'| {" | ".join(cells)} |')
  lines += [
    '',
    'Mean ± standard deviation over seeds. Differences are paired by seed, '
    "with Student's 95 % interval, on unseen rooms also for the luck of the "
    f'subjects. {question.note}{_NOTE_ON_TYPES if plan.types else ""} None is '
    'corrected for the number of arms. All figures are in '
    f'{plan.question}.json.',
    '',
  ]
  return '\n'.join(lines)


def chart(plan: Plan, content: Mapping) -> str:
  """HTER of every arm, its seeds and their mean, as SVG text."""
  stages = {
    CHOOSE: QUESTIONS[plan.question].where,
    FINAL: plan.final,
    TYPES: TITLES[TYPES],
  }
  drawn = {name: rows for name in stages if (rows := content.get(name))}
  longest = max(map(len, drawn.values()))
  with charts.svg_figure(8.0, 0.9 + 0.25 * longest) as (figure, file):
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    for axes, (stage, rows) in zip(panels, drawn.items(), strict=True):
      for place, row in enumerate(rows.values()):
        values = row[MAIN]['values']
        axes.plot(values, [place] * len(values), 'o', ms=3, color=charts.MUTED)
        axes.plot(row[MAIN]['mean'], place, 'C0|', ms=12, mew=2)
      if PLAIN in rows:
        axes.axvline(rows[PLAIN][MAIN]['mean'], ls=':', color=charts.MUTED)
      axes.set_yticks(range(len(rows)), list(rows))
      axes.set_ylim(len(rows) - 0.5, -0.5)
      axes.set_xlabel(FIGURES[MAIN])
      axes.set_title(stages[stage])
  return file.getvalue()


def waves(plan: Plan, workdir: pathlib.Path) -> Iterator[list[Job]]:
  """The runs of all stages, each list to be run before the next is asked for.

  What is chosen is read from the finished runs in the workdir.
  """
  done = []

  def run(arms, seeds):
    for wave in jobs_of(plan, CHOOSE, arms, seeds):
      yield wave
      done.extend(j.name for j in wave if jobs.is_finished(j, workdir))

  yield from run(tuple(plan.arms), plan.seeds[: plan.first_seeds])
  arms = kept(plan, read(plan, workdir, CHOOSE, done))
  yield from run(arms, plan.seeds[plan.first_seeds :])
  winner = choose(plan, read(plan, workdir, CHOOSE, done))
  if winner:
    both = tuple(dict.fromkeys((PLAIN, winner)))
    if not _earlier_final(plan, winner):
      yield from jobs_of(plan, FINAL, both)
    if plan.types and winner != PLAIN:
      yield from jobs_of(plan, TYPES, both)


def settings(plan: Plan) -> dict[str, Any]:
  """What a report says of the trainings, as another one must have it."""
  found = {
    'arms': {name: dict(fields) for name, fields in plan.arms.items()},
    'config': dict(plan.config),
    'choose_config': dict(plan.choose_fields),
    'choose_on': list(plan.choose_on),
    'choose_by': plan.choose_by,
    'final_on': plan.final,
    'bootstrap_samples': plan.num_samples,
  }
  if plan.types:
    found['types_on'] = list(plan.types)
    found['types_config'] = dict(plan.types_fields)
  return found


def report(
  plan: Plan, workdir: pathlib.Path, finished: Sequence[str]
) -> pathlib.Path:
  """Writes the report on the finished runs; returns the page's path."""
  folder = workdir / 'report'
  found = {
    stage: read(plan, workdir, stage, finished)
    for stage in (STAGES if plan.types else (CHOOSE, FINAL))
  }
  winner = choose(plan, found[CHOOSE])
  if TYPES in found:
    # An earlier report may have had another winner.
    judged = (PLAIN, winner)
    found[TYPES] = {a: row for a, row in found[TYPES].items() if a in judged}
  rows = {stage: compare(plan, stage, of) for stage, of in found.items()}
  rows[FINAL] = _earlier_final(plan, winner) or rows[FINAL]
  content = {
    **settings(plan),
    'first_seeds': plan.first_seeds,
    'keep': plan.keep,
    'winner': winner,
    'verdict': verdict(winner, len(plan.seeds), rows[FINAL], rows.get(TYPES)),
    **rows,
  }
  files.write_json(folder / f'{plan.question}.json', content)
  if content[CHOOSE]:
    files.write_whole(folder / f'{plan.question}.svg', chart(plan, content))
  path = folder / f'{plan.question}.md'
  files.write_whole(path, page(plan, content))
  return path
