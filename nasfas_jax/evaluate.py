"""The experiment 'evaluate': a trained network on one protocol.

Reports the metrics of ISO/IEC 30107-3.
"""

import csv
import dataclasses
import functools
import io
import pathlib
from collections.abc import Sequence

import flax.linen as nn
import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh

from nasfas_jax import (
  checkpoints,
  config_checks,
  files,
  inputs,
  losses,
  metrics,
  models,
  progress,
  run_config,
  run_log,
  scoring,
  settings,
  sharding,
)
from nasfas_jax.data import index, protocols
from nasfas_jax.data.index import Row
from nasfas_jax.models import cost, genotypes
from nasfas_jax.report import page

SCORE_COLUMNS = (
  'clip_id',
  'split',
  'label',
  'attack_type',
  'domain',
  'subject',
  'score',
)


@dataclasses.dataclass(frozen=True)
class Trained:
  """A trained network.

  Attributes:
    variables: dict with 'params' and 'batch_stats'.
    step: number of training steps.
    protocol: name of the protocol that it was trained on.
  """

  variables: dict
  step: int
  protocol: str


def evaluate(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
  """Evaluates the run in config.checkpoint on config.protocol.

  The network and its input come from the run. So do the crop and the number of
  snippets, unless this config sets them. The protocol, the data folder and the
  evaluation settings come from this config.

  Raises:
    ValueError: if config.checkpoint is empty, is not a finished run, or was
      trained on subjects in the protocol's test set.
    FileNotFoundError: if the run has no checkpoint or the dataset is not
      prepared.
  """
  merged = check(config)
  source = pathlib.Path(config.checkpoint)
  trained = read_run_config(source)
  selection = protocols.load(
    merged.protocol,
    merged.data.data_dir,
    merged.data.builder_config,
    merged.threshold_source,
  )
  there, here = (c.data.builder_config or 'default' for c in (trained, merged))
  if there != here:
    progress.say(f'Trained on builder config {there!r}, evaluated on {here!r}.')
  _check_subjects(source, selection, merged.protocol)
  mesh = sharding.make_mesh()
  model = settings.network(merged, choose_network(merged, source))
  with progress.stage('Making the network'):
    template = jax.jit(
      functools.partial(models.initialize, model),
      out_shardings=sharding.replicated(mesh),
    )(jax.random.key(0), settings.example_input(merged))
  variables, step = checkpoints.restore_variables(
    checkpoints.folder(source, 'train'), template
  )
  if step < trained.train.num_steps:
    raise ValueError(
      f'The run in {str(source)!r} is not finished: its newest checkpoint is '
      f'of step {step} of {trained.train.num_steps}. The command that started '
      'it resumes it.'
    )
  run_log.start(workdir, merged, selection)
  made = Trained(variables, step, trained.protocol)
  judge(merged, workdir, model, made, selection, mesh)
  progress.say(f'Report: {page.write_report(workdir)}')


def check(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Checks the config of an evaluation before anything is rendered.

  Returns:
    It, with the fields that the training of config.checkpoint has fixed.

  Raises:
    ValueError: names the field, its value and what is allowed.
  """
  if not config.checkpoint:
    raise ValueError(
      'Give --config.checkpoint=WORKDIR, the workdir of a training run.'
    )
  merged = _merge(config, read_run_config(pathlib.Path(config.checkpoint)))
  config_checks.check(merged)
  config_checks.check_batch_sizes(merged, 'evaluate.batch_size')
  return merged


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
    ValueError: as `run_config.read`; the message names config.checkpoint.
  """
  try:
    return run_config.read(source)
  except ValueError as error:
    raise ValueError(f'config.checkpoint: {error}') from error


def _merge(config, trained) -> ml_collections.ConfigDict:
  """This config, with the fields that the training has fixed."""
  merged = ml_collections.ConfigDict(config.to_dict())
  for name in ('image_size', 'num_frames'):
    merged.data[name] = trained.data[name]
  for name in ('eval_face_scale', 'num_snippets'):
    if merged.data[name] is None:
      merged.data[name] = trained.data[name]
  for name in ('network', 'input', 'loss', 'model'):
    merged[name] = trained[name]
  return merged


def _check_subjects(source, selection, protocol: str) -> None:
  """Raises ValueError if a test subject was in the run's train set."""
  seen = set(run_log.read_data(source)['train_subjects'])
  shared = seen & index.subjects(selection.test)
  if shared:
    raise ValueError(
      f'Protocol {protocol!r} tests {len(shared)} subjects that the run in '
      f'{str(source)!r} was trained on, such as {min(shared)!r}.'
    )


def judge(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  model: nn.Module,
  trained: Trained,
  selection: protocols.Selection,
  mesh: Mesh,
) -> dict:
  """Scores the dev and test sets and writes the results.

  The threshold is the EER point of the dev set. Writes results.json, scores.csv
  and, unless config.evaluate.num_samples is 0, samples.npz into the workdir.

  Args:
    config: of the run.
    workdir: folder of the results.
    model: the network.
    trained: its weights.
    selection: the clips of config.protocol.
    mesh: of the devices.

  Returns:
    The content of results.json.
  """
  protocol = protocols.get_protocol(config.protocol)
  form = settings.input_form(config)
  predict = scoring.make_predict(model, trained.variables, form, mesh)
  source = selection.dev_source
  scored, zero_share = {}, {}
  for part, rows in ((source, selection.dev), ('test', selection.test)):
    scores = score(config, predict, rows, f'Evaluating {part}')
    scored[part] = _columns(rows, scores, protocol.domain_field)
    zero_share[part] = float(np.mean(scores == 0.0))
  dev, test = scored[source], scored['test']
  threshold = float(metrics.eer_threshold(dev['score'], dev['label']))
  results = {
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
    },
    'threshold': {
      'value': threshold,
      'rule': f'EER point of the {source} clips',
      'split': source,
    },
    'splits': {
      part: _summary(columns, threshold) for part, columns in scored.items()
    },
    # Maps of zeros come from a network whose last ReLU has died.
    'zero_score_share': zero_share,
    'confidence': {
      'level': 0.95,
      'samples': config.evaluate.bootstrap_samples,
      **metrics.bootstrap_intervals(
        test['score'],
        test['label'],
        test['attack_type'],
        test['subject'],
        threshold,
        num_samples=config.evaluate.bootstrap_samples,
        seed=config.seed,
      ),
    },
    'per_domain': {
      domain: _summary(_where(test, test['domain'] == domain), threshold)
      for domain in np.unique(test['domain']).tolist()
    },
    'per_type': {
      kind: _summary(
        _where(
          test,
          (test['attack_type'] == kind) | (test['label'] == 1),
        ),
        threshold,
      )
      for kind in np.unique(test['attack_type']).tolist()
      if kind != 'live'
    },
  }
  if jax.process_index() == 0:
    files.write_json(workdir / 'results.json', results)
    _write_scores(workdir / 'scores.csv', scored)
  if config.evaluate.num_samples:
    _write_samples(config, workdir, predict, selection, scored['test'])
  _announce(results)
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
  num_snippets = config.data.num_snippets
  return scoring.score_clips(
    predict,
    rows,
    _batches(config, rows, num_snippets),
    num_batches=-(-len(rows) * num_snippets // config.evaluate.batch_size),
    title=title,
  )


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


def _where(columns: dict, mask: np.ndarray) -> dict:
  return {name: column[mask] for name, column in columns.items()}


def _summary(columns: dict, threshold: float) -> dict:
  return metrics.summarise(
    columns['score'], columns['label'], columns['attack_type'], threshold
  )


def _write_scores(path: pathlib.Path, scored: dict) -> None:
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(SCORE_COLUMNS)
  for part, columns in scored.items():
    split = np.full(len(columns['score']), part)
    listed = [
      {**columns, 'split': split}[name].tolist() for name in SCORE_COLUMNS
    ]
    writer.writerows(zip(*listed, strict=True))
  files.write_whole(path, text.getvalue())


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


def _write_samples(config, workdir, predict, selection, test) -> None:
  """Writes samples.npz: test clips with their predicted and true maps."""
  places = choose_samples(test, config.evaluate.num_samples)
  rows = [selection.test[place] for place in places]
  parts = []
  supervision = losses.supervision_of(config.loss)
  for batch in _batches(config, rows, 1):
    maps = predict(batch)['map']
    pictures = inputs.dynamic_picture(
      batch['frames'], config.input.rank_pooling
    )
    target = losses.make_target(
      batch['depth'], batch['face_mask'], batch['label'], supervision
    )
    static = batch['frames'][:, batch['frames'].shape[1] // 2]
    parts.append((static, pictures, maps, np.asarray(target)))
  if jax.process_count() > 1:
    # Each process holds only its own part of the pictures: write none.
    return
  image, dynamic, predicted, depth = (
    np.concatenate(arrays)[: len(rows)] for arrays in zip(*parts, strict=True)
  )
  chosen = {name: column[places] for name, column in test.items()}
  with files.replacing(workdir / 'samples.npz', suffix='.npz') as partial:
    np.savez_compressed(
      partial,
      clip_id=chosen['clip_id'],
      attack_type=chosen['attack_type'],
      domain=chosen['domain'],
      label=chosen['label'],
      score=chosen['score'],
      image=image,
      dynamic=dynamic,
      predicted=predicted,
      depth=depth,
    )


def _announce(results: dict) -> None:
  for part, share in results['zero_score_share'].items():
    if share > 0.9:
      progress.say(
        f'Warning: the map is zero for {share:.0%} of the {part} clips. The '
        'last ReLU has died: train again with a lower learning rate or a '
        'longer warm-up.'
      )
  test = results['splits']['test']
  figures = ', '.join(
    f'{name.upper().replace("_MAX", "")} '
    + ('-' if test[name] is None else f'{test[name]:.4f}')
    for name in dict.fromkeys((*results['headline'], 'hter', 'auc', 'acer'))
  )
  progress.say(
    f'Test of {results["protocol"]} ({test["num_live"]} live, '
    f'{test["num_spoof"]} spoof clips; threshold from '
    f'{results["threshold"]["split"]}): {figures}'
  )
