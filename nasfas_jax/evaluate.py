"""The experiment 'evaluate': a trained network on one protocol.

Reports the metrics of ISO/IEC 30107-3.
"""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import ml_collections
import numpy as np
from jax.sharding import Mesh

from nasfas_jax import (
  adaptation,
  config_checks,
  detector,
  files,
  hosts,
  inputs,
  judgement,
  losses,
  models,
  progress,
  remote,
  run_config,
  run_log,
  score_table,
  scoring,
  settings,
  sharding,
  states,
)
from nasfas_jax.data import index, nuisance, protocols
from nasfas_jax.data.index import Row
from nasfas_jax.metrics import thresholds
from nasfas_jax.models import cost, genotypes
from nasfas_jax.report import page

# The rule of config.threshold that takes the threshold of the run itself.
RUN = 'run'


@dataclasses.dataclass(frozen=True)
class Trained:
  """A trained network.

  Attributes:
    variables: dict with 'params' and 'batch_stats'.
    step: number of training steps.
    protocol: name of the protocol that it was trained on.
    threshold: of the run, for the rule `RUN`; see `run_threshold`.
    subjects: that it was trained on, if it is judged on another's dev clips.
  """

  variables: dict
  step: int
  protocol: str
  threshold: Mapping[str, object] | None = None
  subjects: frozenset[str] = frozenset()


def evaluate(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  prepare: Callable[[ml_collections.ConfigDict], None] = lambda config: None,
) -> None:
  """Evaluates the run in config.checkpoint on config.protocol.

  The network and its input come from the run. So do the protocol, the crop, the
  number of snippets and the builder config, unless this config sets them. The
  data folder and the evaluation settings come from this config. Only test
  clips must be prepared. With config.scores, the scores in that file are judged
  and no network is read.

  Args:
    config: of the evaluation.
    workdir: folder of the results.
    prepare: makes the embedded dataset if it is missing; called once the run
      has turned out to be sound.

  Raises:
    ValueError: if config.checkpoint is empty, is not a finished run, holds
      another network than its config says, or was trained on subjects in the
      protocol's test set; if config.scores is not a file of scores.
    FileNotFoundError: if the run has no checkpoint or the dataset is not
      prepared.
  """
  if config.scores:
    judge_file(config, workdir)
    return
  if not config.checkpoint:
    raise ValueError(
      'Give --config.checkpoint=WORKDIR, the workdir of a training run, or '
      '--config.scores=FILE, scores of any system.'
    )
  source = remote.local(config.checkpoint)
  trained = read_run_config(source)
  merged = _merge(config, trained)
  _check(merged)
  if merged.threshold == RUN and not merged.adapted:
    run_threshold(source)
  there, here = (c.data.builder_config or 'default' for c in (trained, merged))
  if there != here:
    progress.say(f'Trained on builder config {there!r}, evaluated on {here!r}.')
  # The network before the data: it is the faster one to be wrong.
  chosen = choose_network(merged, source)
  config_checks.check_model(
    'network', lambda: settings.network(merged, chosen), merged
  )
  model = settings.network(merged, chosen, scoring=True)
  mesh = sharding.make_mesh()
  variables, step = detector.restore_network(
    source, model, trained, sharding.replicated(mesh)
  )
  adapted, more = None, {}
  if merged.adapted:
    adapted = adaptation.read(source, variables)
    variables = {**variables, 'batch_stats': adapted.batch_stats}
    more['adapted'] = {
      'text': adaptation.describe(adapted.content),
      'source': adapted.source,
    }
    progress.say(f'With {more["adapted"]["text"]} ({adapted.source}).')
  prepare(merged)
  selection = settings.selection(merged, judging=True)
  _check_subjects(source, selection, merged.protocol, trained.protocol)
  merged.threshold = choose_rule(merged, trained.threshold, selection)
  run_log.start(workdir, merged, selection)
  data = run_log.read_data(source)
  judged = {selection.dev_source: selection.dev, 'test': selection.test}
  for line in (
    *nuisance.other_box_lines(data.get('boxes', {}), judged),
    *nuisance.copy_lines(judged),
    *nuisance.crop_lines(
      selection.test,
      nuisance.Crops(
        *[merged.data.eval_face_scale] * 2, merged.data.image_size
      ),
    ),
  ):
    progress.say(line)
  if isinstance(chosen, genotypes.Genotype):
    # Its page, and one that compares runs, draw the cells.
    hosts.first(lambda: chosen.save(workdir / 'genotype.json'))
  threshold = None
  if merged.threshold == RUN:
    threshold = run_threshold(source, adapted)
    if other := other_clips(merged, trained):
      _warn(threshold, f'It was set on other scores: {other}.')
  subjects = frozenset(data['train_subjects'])
  made = Trained(variables, step, trained.protocol, threshold, subjects)
  judge(
    merged,
    workdir,
    model,
    made,
    selection,
    mesh,
    {
      'seen': seen_in_training(source, made.protocol, merged, selection),
      **more,
    },
  )
  report = hosts.first(lambda: str(page.write_report(workdir)))
  progress.say(f'Report: {report}')


def _check(config: ml_collections.ConfigDict) -> None:
  """Checks the config of an evaluation, with the fields of its run.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  plain = ml_collections.ConfigDict(config.to_dict())
  if plain.threshold in ('', RUN):
    plain.threshold = 'eer'
  try:
    thresholds.parse(plain.threshold)
  except ValueError as error:
    raise ValueError(
      f'config.threshold is {plain.threshold!r}; allowed: {RUN} (that of the '
      f'run), {thresholds.ALLOWED}.'
    ) from error
  config_checks.check(plain)
  config_checks.check_batch_sizes(config, 'evaluate.batch_size')
  how = config.evaluate.batch_norm
  if how == scoring.RUNNING:
    return
  if config.scores:
    raise ValueError(
      f'config.evaluate.batch_norm is {how!r}; allowed with config.scores, '
      f'which are no network: {scoring.RUNNING}.'
    )
  if config.adapted:
    raise ValueError(
      f'config.evaluate.batch_norm is {how!r}; allowed with config.adapted, '
      f'whose statistics would not be used: {scoring.RUNNING}.'
    )
  if config.threshold == RUN:
    raise ValueError(
      f"config.threshold is 'run'; allowed with config.evaluate.batch_norm "
      f'{how!r}, under which scores are others: {thresholds.ALLOWED}.'
    )


def judge_file(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> None:
  """Judges the scores in config.scores; writes results.json and the report.

  Raises:
    ValueError: as `score_table.read`; if the dev clips cannot set the
      threshold, or a clip or a subject of those that set it is tested too.
    FileNotFoundError: if there is no such file.
  """
  if config.checkpoint:
    raise ValueError(
      f'config.scores is {config.scores!r} and config.checkpoint '
      f'{config.checkpoint!r}; give one of them.'
    )
  if config.adapted:
    raise ValueError(
      'config.adapted is True; allowed with config.scores, which are no '
      'network: False.'
    )
  recorded = ml_collections.ConfigDict(config.to_dict())
  defaults = run_config.defaults_of(config)
  # A network would bring its own.
  recorded.protocol = defaults['protocol']
  for name in ('eval_face_scale', 'num_snippets'):
    recorded.data[name] = defaults[f'data.{name}']
  rule = config.threshold or 'eer'
  if rule == RUN:
    raise ValueError(
      "config.threshold is 'run'; allowed with config.scores: "
      f'{thresholds.ALLOWED}.'
    )
  _check(recorded)
  rule = thresholds.parse(rule)
  source = config.threshold_source or 'dev'
  path = pathlib.Path(config.scores)
  try:
    scored = score_table.read(path)
  except (ValueError, FileNotFoundError) as error:
    raise type(error)(f'config.scores: {error}') from error
  if 'test' not in scored:
    raise ValueError(
      f'config.scores: {str(path)!r} has no clips of the split test; found: '
      f'{", ".join(scored)}.'
    )
  if rule.kind != 'value' and source not in scored:
    raise ValueError(
      f'config.scores: {str(path)!r} has no clips of the split {source}, which '
      'set the threshold; found: '
      f'{", ".join(scored)}. Give --config.threshold=NUMBER without them.'
    )
  caveats = []
  if not score_table.has_column(path, 'subject'):
    caveats.append(
      'There is no column subject. Every clip counts as a person of its own, '
      'so the intervals are too narrow if persons have several clips.'
    )
  if source in scored and (shared := _shared(path, scored, source)):
    if rule.kind != 'value':
      raise ValueError(
        f'config.scores: {str(path)!r}: {shared}, which the threshold must not '
        f'have seen. Leave them out of {source}, or give '
        '--config.threshold=NUMBER. Other persons or clips of the same name, '
        'as two datasets have them, need names of their own: oulu/1, casia/1.'
      )
    caveats.append(f'{shared}: the calibration has seen them.')
  run_log.start(workdir, recorded, protocols.Selection([], [], [], source))
  scored = {part: scored[part] for part in (source, 'test') if part in scored}
  results = _finish(
    config,
    workdir,
    {
      'protocol': f'{judgement.OF_FILE}{path.name}',
      'headline': ['apcer_max', 'bpcer', 'acer'],
      'model': {'name': path.name},
    },
    scored,
    judgement.set_threshold(rule, scored, source),
    source,
    caveats,
  )
  for part, summary in results['splits'].items():
    if summary['auc'] is not None and summary['auc'] < 0.5:
      progress.say(
        f'Warning: the AUC of {part} is {summary["auc"]:.4f}: live clips score '
        'lower than attacks. A high score must be evidence for live; if yours '
        'is evidence for an attack, give its negative.'
      )
  report = hosts.first(lambda: str(page.write_report(workdir)))
  progress.say(f'Report: {report}')


def _shared(
  path: pathlib.Path, scored: Mapping[str, score_table.Columns], source: str
) -> str:
  """Which labelled clips or subjects of a split are tested too; '' if none."""
  parts = [score_table.labelled(scored[part]) for part in (source, 'test')]
  columns = ('subject', 'subjects'), ('clip_id', 'clips')
  columns = [of for of in columns if score_table.has_column(path, of[0])]
  for name, words in columns:
    values = [part[name].tolist() for part in parts]
    repeated = any(len(set(of)) < len(of) for of in values)
    if name == 'clip_id' and len(columns) == 2 and repeated:
      # Many subjects have a clip of this name; they alone tell clips apart.
      continue
    if shared := set(values[0]) & set(values[1]):
      return (
        f'{len(shared)} {words} are in {source} and in test, such as '
        f'{min(shared)!r}'
      )
  return ''


def run_threshold(
  source: pathlib.Path, adapted: adaptation.Adapted | None = None
) -> dict[str, object]:
  """The threshold of a run: that of a calibration, else that of its results.

  Args:
    source: folder of the run.
    adapted: its adapted batch statistics, whose threshold is taken.

  Raises:
    ValueError: if the run has none, or its file is damaged.
  """
  if adapted:
    found = detector.Threshold(*adapted.threshold)
  else:
    found = detector.read_threshold(source)
  return judgement.given_threshold(
    found.value, f'of the run: {found.rule}', RUN, found.warning
  )


def _warn(threshold: dict[str, object], text: str) -> None:
  """Adds a sentence to what is to be known of a threshold."""
  threshold['warning'] = f'{threshold["warning"]} {text}'.strip()


def other_clips(config: settings.Config, trained: settings.Config) -> str:
  """How clips are made into snippets otherwise than in a run; '' if not."""
  return '; '.join(
    f'config.data.{name} is {config.data[name]!r}, of the run '
    f'{trained.data[name]!r}'
    for name in ('eval_face_scale', 'num_snippets')
    if config.data[name] != trained.data[name]
  )


def choose_network(
  config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> str | genotypes.Genotype:
  """The name in config.model, or the genotype in workdir/genotype.json."""
  if config.model == 'genotype':
    return genotypes.load(workdir / 'genotype.json')
  return config.model


def read_run_config(source: pathlib.Path) -> ml_collections.ConfigDict:
  """The config of the run in config.checkpoint.

  Raises:
    ValueError: as `run_config.read_network`; the message names
      config.checkpoint.
  """
  try:
    return run_config.read_network(source)
  except ValueError as error:
    raise ValueError(f'config.checkpoint: {error}') from error


# Fields of a run that its weights fix.
_FIXED = re.compile(
  r'data\.(image_size|num_frames)|(network|input|loss)\..*|model|dtype'
)


def _check_fixed(config, trained) -> None:
  """Refuses a field that the training has fixed, unless it says the same.

  Raises:
    ValueError: names the field.
  """
  defaults = run_config.defaults_of(config)
  of_run = run_config.flatten(trained)
  for path, value in run_config.flatten(config).items():
    if (
      _FIXED.fullmatch(path)
      and value != defaults[path]
      and value != of_run.get(path)
    ):
      raise ValueError(
        f'config.{path} is {value!r}; allowed: that of the run in '
        f'config.checkpoint, {of_run.get(path)!r}.'
      )


def _merge(config, trained) -> ml_collections.ConfigDict:
  """This config, with the fields that the training has fixed.

  Raises:
    ValueError: as `_check_fixed`; if the protocol of the run is not known.
  """
  _check_fixed(config, trained)
  merged = ml_collections.ConfigDict(config.to_dict())
  for name in ('image_size', 'num_frames'):
    merged.data[name] = trained.data[name]
  for name in ('eval_face_scale', 'num_snippets'):
    if merged.data[name] is None:
      merged.data[name] = trained.data[name]
  for name in ('network', 'input', 'loss', 'model', 'dtype'):
    merged[name] = trained[name]
  known = protocols.all_protocols()
  if not merged.protocol:
    if trained.protocol not in known:
      raise ValueError(
        f'config.checkpoint: the protocol of the run, {trained.protocol!r}, is '
        'not known here. Give --config.protocol.'
      )
    merged.protocol = trained.protocol
  if merged.protocol == trained.protocol and not merged.threshold_source:
    merged.threshold_source = trained.threshold_source
  if not merged.data.builder_config:
    # Another dataset's builder does not have the config of this one's.
    used = known[trained.protocol].datasets if trained.protocol in known else ()
    wanted = protocols.get_protocol(merged.protocol).datasets
    if set(wanted) <= set(used):
      merged.data.builder_config = trained.data.builder_config
  return merged


class SubjectsSeen(ValueError):
  """A run was trained on subjects that a protocol tests."""


def _check_subjects(source, selection, protocol: str, trained_on: str) -> None:
  """Raises SubjectsSeen if a test subject was in the run's train set.

  Not of the run's own protocol if that one shares subjects: its training has
  judged the same clips. What it tested is said with the figures.
  """
  own = protocol == trained_on
  if own and not protocols.get_protocol(protocol).disjoint_subjects:
    return
  seen = set(run_log.read_data(source)['train_subjects'])
  shared = seen & index.subjects(selection.test)
  if shared:
    raise SubjectsSeen(
      f'Protocol {protocol!r} tests {len(shared)} subjects that the run in '
      f'{str(source)!r} was trained on, such as {min(shared)!r}.'
    )


def seen_in_training(
  source: pathlib.Path,
  trained_on: str,
  config: ml_collections.ConfigDict,
  selection: protocols.Selection,
) -> dict[str, object]:
  """Whether a run was trained on what a protocol holds out.

  A protocol holds out a field (its domain, the attack type, the attack's own
  code) if none of its test values is in its train set.

  Args:
    source: folder of the run.
    trained_on: the protocol of the run.
    config: of the evaluation.
    selection: its clips; without train clips, domain and attack type count as
      held out.

  Returns:
    'status': 'own' (the run's own protocol, of which it had seen nothing before
    either), 'unseen', 'seen', or 'unknown' (the run did not record its training
    values); 'held_out': the fields;
    'shared': field -> the values of the test set that the run was trained on.
  """
  held_out = index.held_out(
    selection.train,
    selection.test,
    protocols.get_protocol(config.protocol).domain_field,
  )
  data = run_log.read_data(source)
  known = data.get('train_values')
  if not isinstance(known, dict):
    return {'status': 'unknown', 'held_out': list(held_out), 'shared': {}}
  shared = {
    field: sorted(values & set(known.get(field, ())))
    for field, values in held_out.items()
    if values & set(known.get(field, ()))
  }
  status = 'unseen' if held_out and not shared else 'seen'
  own = trained_on == config.protocol and not (data.get('before') and shared)
  return {
    'status': 'own' if own else status,
    'held_out': list(held_out),
    'shared': shared,
  }


def judge(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  model: nn.Module,
  trained: Trained,
  selection: protocols.Selection,
  mesh: Mesh,
  more: Mapping[str, object] | None = None,
) -> dict:
  """Scores the dev and test sets and writes the results.

  config.threshold is the rule of the threshold, on the dev clips. Writes
  results.json, scores.csv and, unless config.evaluate.num_samples is 0,
  samples.npz into the workdir.

  Args:
    config: of the run.
    workdir: folder of the results.
    model: the network.
    trained: its weights.
    selection: the clips of config.protocol.
    mesh: of the devices.
    more: further content of results.json.

  Returns:
    The content of results.json.
  """
  predict = _predict(config, model, trained, mesh)
  scores, maps = _score_parts(config, predict, selection)
  results, scored = _conclude(
    config, workdir, model, trained, selection, scores, more
  )
  if config.evaluate.num_samples:
    places = choose_samples(scored['test'], config.evaluate.num_samples)
    samples = _make_samples(config, predict, selection, places, maps)
    _write_samples(workdir, samples, scored['test'], places)
  return results


def judge_members(
  runs: Sequence[tuple[ml_collections.ConfigDict, pathlib.Path]],
  model: nn.Module,
  trained: Trained,
  selection: protocols.Selection,
  mesh: Mesh,
  more: Sequence[Mapping[str, object]],
) -> list[dict]:
  """`judge` of several networks, which score every clip together.

  Args:
    runs: config and folder of each; they differ in the seed only.
    model: the network.
    trained: their weights, with a leading axis for the networks.
    selection: the clips of the protocol.
    mesh: of the devices.
    more: further content of the results.json of each.

  Returns:
    The content of the results.json of each.
  """
  config = runs[0][0]
  predict = _predict(config, model, trained, mesh, members=True)
  scores, maps = _score_parts(config, predict, selection)
  found, samples = [], None
  for place, (one, folder) in enumerate(runs):
    alone = dataclasses.replace(
      trained, variables=states.member(trained.variables, place)
    )
    own = {part: of_part[place] for part, of_part in scores.items()}
    results, scored = _conclude(
      one, folder, model, alone, selection, own, more[place]
    )
    found.append(results)
    if config.evaluate.num_samples:
      # The same clips for all: the choice looks at their types only.
      places = choose_samples(scored['test'], config.evaluate.num_samples)
      samples = samples or _make_samples(
        config, predict, selection, places, maps
      )
      shown = {**samples, 'predicted': samples['predicted'][place]}
      _write_samples(folder, shown, scored['test'], places)
  return found


def _predict(
  config, model, trained: Trained, mesh: Mesh, *, members: bool = False
) -> scoring.Predict:
  return scoring.make_predict(
    model,
    trained.variables,
    settings.input_form(config),
    mesh,
    batch_norm=config.evaluate.batch_norm,
    members=members,
  )


def _score_parts(
  config, predict: scoring.Predict, selection: protocols.Selection
) -> tuple[dict[str, np.ndarray], dict[int, np.ndarray] | None]:
  """The scores of the dev and the test clips, by the name of the split.

  Returns:
    (the scores; the maps of the test clips that are shown, by their place, if
    they depend on what they were scored with).
  """
  scores, maps, shown = {}, None, ()
  alone = config.evaluate.batch_norm == scoring.RUNNING
  if not alone:
    domain_field = protocols.get_protocol(config.protocol).domain_field
    shown = choose_samples(
      _columns(selection.test, None, domain_field),
      config.evaluate.num_samples,
    )
    progress.say(f'Note: {describe_batch_norm(config)["text"]}')
  parts = (selection.dev_source, selection.dev), ('test', selection.test)
  for part, rows in parts:
    if not rows:
      continue
    title = f'Evaluating {part}'
    if alone:
      scores[part] = score(config, predict, rows, title)
    else:
      scores[part], maps = _score_together(
        config, predict, rows, title, shown if part == 'test' else ()
      )
  return scores, maps


def _conclude(
  config,
  workdir: pathlib.Path,
  model: nn.Module,
  trained: Trained,
  selection: protocols.Selection,
  scores: Mapping[str, np.ndarray],
  more: Mapping[str, object] | None,
) -> tuple[dict, dict[str, score_table.Columns]]:
  """Sets the threshold, judges the scores and writes the results.

  Returns:
    (the content of results.json, that of scores.csv).
  """
  protocol = protocols.get_protocol(config.protocol)
  source = selection.dev_source
  rows = {source: selection.dev, 'test': selection.test}
  scored = {
    part: _columns(rows[part], values, protocol.domain_field)
    for part, values in scores.items()
  }
  more = dict(more or {})
  if config.evaluate.batch_norm != scoring.RUNNING:
    more['batch_norm'] = describe_batch_norm(config)
  facts = {
    'protocol': protocol.name,
    'headline': list(protocol.headline),
    'model': {
      'name': config.model,
      'num_parameters': models.count_parameters(trained.variables['params']),
      # Multiply-accumulates for one input, in units of 10^9.
      'gmac': cost.count_macs(
        lambda variables, x: model.apply(variables, x, train=False).map,
        trained.variables,
        settings.example_input(config),
      )
      / 1e9,
      'step': trained.step,
      'trained_on': trained.protocol,
      # Tells two trainings of one network apart.
      'digest': adaptation.digest_of(trained.variables),
      # What it was trained in; it scores in float32.
      'dtype': settings.compute_dtype(config),
    },
    **more,
  }
  judgement.check_finite(scored)
  if config.threshold == RUN:
    threshold = trained.threshold
  else:
    rule = thresholds.parse(config.threshold)
    threshold = judgement.set_threshold(rule, scored, source)
    seen = trained.subjects & index.subjects(selection.dev)
    # The train set sets it on request only.
    if seen and threshold['split'] == source != 'train':
      _warn(
        threshold,
        f'The run was trained on {len(seen)} of the '
        f'{len(index.subjects(selection.dev))} subjects of the {source} clips, '
        f'which set the threshold, such as {min(seen)!r}: to new subjects it '
        'carries over badly.',
      )
    if selection.left_out and threshold['split'] == source:
      _warn(
        threshold,
        f'Not prepared here: {", ".join(selection.left_out)}. So the {source} '
        'clips, which set the threshold, may be a part of those of the '
        'protocol.',
      )
  caveats = _trained_on_test_subjects(trained, selection, protocol.name)
  results = _finish(config, workdir, facts, scored, threshold, source, caveats)
  return results, scored


def _trained_on_test_subjects(
  trained: Trained, selection: protocols.Selection, protocol: str
) -> list[str]:
  """What is said where a protocol does not hold persons apart."""
  tested = index.subjects(selection.test)
  seen = trained.subjects
  if trained.protocol == protocol:
    seen = seen | index.subjects(selection.train)
  shared = seen & tested
  if not shared:
    return []
  return [
    f'The run was trained on {len(shared)} of the {len(tested)} subjects of '
    f'the test clips, such as {min(shared)!r}: to new subjects these figures '
    'carry over badly.'
  ]


def describe_batch_norm(config: ml_collections.ConfigDict) -> dict[str, str]:
  """What results.json and the report say of statistics of test clips."""
  how = config.evaluate.batch_norm
  of_one = ' of one domain' if how == scoring.TEST_DOMAIN else ''
  return {
    'how': how,
    'text': (
      'The clips are normalised by the statistics of the batches of '
      f'{config.evaluate.batch_size} snippets{of_one} that they are scored in, '
      'not by those of the training. So a score depends on the other clips of '
      'its batch, and these figures hold only where clips are judged in '
      'batches that resemble this test set, with its shares of live clips and '
      'of each attack. The threshold holds for no single clip.'
    ),
  }


def choose_rule(
  config: ml_collections.ConfigDict,
  of_the_run: str,
  selection: protocols.Selection,
) -> str:
  """The rule of the threshold: that of config.threshold, else of the run.

  Args:
    config: of the evaluation.
    of_the_run: config.threshold of the training.
    selection: its clips; without dev clips, the run's own threshold is taken
      if config.threshold is ''.

  Raises:
    ValueError: if config.threshold needs dev clips and there are none.
  """
  rule = config.threshold or of_the_run
  if rule == RUN or thresholds.parse(rule).kind == 'value' or selection.dev:
    return rule
  if config.threshold:
    raise ValueError(
      f'config.threshold is {rule!r}, which needs {selection.dev_source} clips '
      f'of {config.protocol!r}, and none are prepared; allowed without them: '
      'run (the threshold of the run) or a number.'
    )
  if config.evaluate.batch_norm != scoring.RUNNING:
    raise ValueError(
      f'config.evaluate.batch_norm is {config.evaluate.batch_norm!r}, and no '
      f'{selection.dev_source} clips of {config.protocol!r} are prepared to '
      'set a threshold for it; that of the run is for other scores. Prepare '
      'them, or give --config.threshold=NUMBER.'
    )
  progress.say(
    f'There are no {selection.dev_source} clips to set a threshold: that of '
    'the run is used.'
  )
  return RUN


def _finish(
  config,
  workdir: pathlib.Path,
  facts: Mapping[str, object],
  scored: Mapping[str, score_table.Columns],
  threshold: Mapping[str, object],
  source: str,
  caveats: Sequence[str] = (),
) -> dict[str, object]:
  """Judges scores, writes results.json and scores.csv, says the figures.

  The caveats join the warning about the intervals.
  """
  results = {
    **facts,
    **judgement.judge(
      scored,
      threshold,
      source,
      bootstrap_samples=config.evaluate.bootstrap_samples,
      seed=config.seed,
    ),
  }

  confidence = results['confidence']
  said = (confidence['warning'], *caveats)
  confidence['warning'] = ' '.join(text for text in said if text)

  def write() -> None:
    score_table.write(workdir / 'scores.csv', scored)
    # The last one: who finds it takes the run for finished.
    files.write_json(workdir / 'results.json', results)

  hosts.first(write)
  for line in judgement.say(results):
    progress.say(line)
  return results


def score(
  config: ml_collections.ConfigDict,
  predict: scoring.Predict,
  rows: Sequence[Row],
  title: str,
) -> np.ndarray:
  """Scores every clip, averaged over config.data.num_snippets snippets.

  Returns:
    float64 [len(rows)], higher = more evidence for live.
  """
  return _score(config, predict, rows, title)[0]


def _score(config, predict, rows, title, keep=()):
  """As `scoring.score_clips`."""
  num_snippets = config.data.num_snippets
  return scoring.score_clips(
    predict,
    rows,
    _batches(config, rows, num_snippets),
    num_batches=-(-len(rows) * num_snippets // config.evaluate.batch_size),
    title=title,
    keep=keep,
  )


def _score_together(config, predict, rows, title, keep):
  """As `_score`, in batches that are normalised by what they hold."""
  domain_field = protocols.get_protocol(config.protocol).domain_field
  domains = _columns(rows, None, domain_field)['domain']
  scores, maps = None, {}
  try:
    groups = scoring.groups(domains, config.evaluate.batch_norm)
  except ValueError as error:
    raise ValueError(f'config.evaluate.{error}') from error
  for places in groups:
    chosen = [rows[place] for place in places]
    wanted = np.flatnonzero(np.isin(places, keep)).tolist()
    own, found = _score(config, predict, chosen, title, wanted)
    if scores is None:
      scores = np.zeros((*own.shape[:-1], len(rows)))
    scores[..., places] = own
    maps |= {int(places[i]): one for i, one in found.items()}
  return scores, maps


def _batches(config, rows, num_snippets):
  domain_field = protocols.get_protocol(config.protocol).domain_field
  read = settings.evaluation_batches(
    config, domain_field, config.network.output_size
  )
  return read(rows, num_snippets=num_snippets)


def _columns(rows: Sequence[Row], scores, domain_field: str) -> dict:
  return {
    'clip_id': np.array([row['clip_id'] for row in rows]),
    'label': np.array([row['label'] for row in rows]),
    'attack_type': np.array([row['attack_type'] for row in rows]),
    'domain': np.array([row[domain_field] for row in rows]),
    'subject': np.array([index.subject(row) for row in rows]),
    'score': scores,
  }


def choose_samples(columns: dict, number: int) -> list[int]:
  """Chooses clips to show, taking the attack types in turn.

  Args:
    columns: arrays [N]; 'attack_type' is read.
    number: the most clips to choose.

  Returns:
    Places in the columns, ascending.
  """
  rng = np.random.default_rng(0)
  queues = [
    rng.permutation(np.flatnonzero(columns['attack_type'] == kind)).tolist()
    for kind in np.unique(columns['attack_type']).tolist()
  ]
  chosen = []
  while len(chosen) < number and any(queues):
    for queue in queues:
      if queue and len(chosen) < number:
        chosen.append(queue.pop())
  return sorted(chosen)


def _make_samples(config, predict, selection, places, maps) -> dict:
  """Pictures of test clips with their predicted and true maps.

  `maps`, if given, are those that the clips were scored by.
  """
  rows = [selection.test[place] for place in places]
  parts = []
  supervision = losses.supervision_of(config.loss)
  for batch in _batches(config, rows, 1):
    predicted = () if maps else predict(batch)['map']
    pictures = inputs.dynamic_picture(
      batch['frames'], config.input.rank_pooling
    )
    target = losses.make_target(
      batch['depth'], batch['face_mask'], batch['label'], supervision
    )
    static = batch['frames'][:, batch['frames'].shape[1] // 2]
    shown = sharding.gather((static, pictures, np.asarray(target)))
    parts.append((*shown, predicted))
  *shown, predicted = zip(*parts, strict=True)
  image, dynamic, depth = (np.concatenate(a)[: len(rows)] for a in shown)
  # Of several networks, their axis comes first.
  if maps:
    predicted = np.stack([maps[place] for place in places], axis=-3)
  else:
    predicted = np.concatenate(predicted, axis=-3)[..., : len(rows), :, :]
  return {
    'image': image,
    'dynamic': dynamic,
    'predicted': predicted,
    'depth': depth,
  }


def _write_samples(workdir, samples, test, places) -> None:
  """Writes samples.npz: `_make_samples` with what is known of the clips."""
  chosen = {name: column[places] for name, column in test.items()}

  def write() -> None:
    with files.replacing(workdir / 'samples.npz', suffix='.npz') as partial:
      np.savez_compressed(
        partial,
        clip_id=chosen['clip_id'],
        subject=chosen['subject'],
        attack_type=chosen['attack_type'],
        domain=chosen['domain'],
        label=chosen['label'],
        score=chosen['score'],
        **samples,
      )

  hosts.first(write)
