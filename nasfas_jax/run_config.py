"""Configs by name, and the one rule for reading the config of a run.

The rule for a run's config.json: a missing field takes its default, and a
message says so; a field that this version does not have is refused by name.
"""

import importlib
import pathlib
from collections.abc import Iterable

import ml_collections
from flax import traverse_util

from nasfas_configs import (
  calibrate,
  compare,
  default,
  demo,
  export,
  predict,
  report,
  study,
)
from nasfas_jax import files, progress

FILE = 'config.json'
# Fields that each host may set otherwise.
OF_A_HOST = ('data.num_workers', 'data.cache_mib', 'data.data_dir')
# Fields that change a run's speed or its checkpoints, never its result.
FREE_FIELDS = (
  *OF_A_HOST,
  'checkpoint_every',
  # Without a step to skip it changes nothing; with one there is no result.
  'max_skipped_steps',
)
# Runs that a message lists.
_MOST_LISTED = 5
# Old name of a field -> its new name. An old name is refused.
RENAMED = {
  'network.dtype': 'config.dtype',
  'supernet.dtype': 'config.dtype',
  'supervision': 'config.loss.depth and the other weights in config.loss',
  'search.tasks': 'config.search.hold_out',
  'meta.inner_rate': 'config.meta.inner_lr',
  'meta.learn_rates': 'config.meta.learn_inner_lr',
  'meta.rate_learning_rate': 'config.meta.inner_lr_learning_rate',
}
# Modules of nasfas_configs that are not experiments.
_NO_EXPERIMENTS = ('default', 'variants')


def names() -> list[str]:
  """The configs that --config takes by name."""
  folder = pathlib.Path(default.__file__).parent
  found = {path.stem for path in folder.glob('*.py')}
  return sorted(found.difference(_NO_EXPERIMENTS))


def locate(text: str) -> str:
  """The file of a config, from its path or its name.

  Args:
    text: `FILE.py` or a name, such as `search`; `:VARIANTS` may follow.

  Returns:
    The same text with a name replaced by the path of the installed file.

  Raises:
    ValueError: for an unknown name or a file that does not exist; lists the
      known names.
  """
  path, colon, variants = text.partition(':')
  known = ', '.join(names())
  if path.endswith('.py') or len(pathlib.PurePath(path).parts) != 1:
    if not pathlib.Path(path).is_file():
      raise ValueError(
        f'There is no file {path!r}; configs known by name: {known}.'
      )
    return text
  if path not in names():
    raise ValueError(
      f'Unknown config {path!r}; known by name: {known}. Give a file as '
      'FOLDER/NAME.py.'
    )
  folder = pathlib.Path(default.__file__).resolve().parent
  return f'{folder / path}.py{colon}{variants}'


def by_name(text: str) -> ml_collections.ConfigDict:
  """The config that --config=NAME or --config=NAME:VARIANTS means.

  Raises:
    ValueError: for an unknown name or variant.
  """
  locate(text)
  name, _, variants = text.partition(':')
  module = importlib.import_module(f'{default.__package__}.{name}')
  return module.get_config(*([variants] if variants else []))


def flatten(config) -> dict[str, object]:
  """Path of a field, such as 'search.num_steps' -> its value.

  A field of config.study is one value, even if it is a dict: the keys of such a
  dict are data, not field names.

  Args:
    config: a ConfigDict or nested dicts.
  """
  if isinstance(config, ml_collections.ConfigDict):
    config = config.to_dict()
  return traverse_util.flatten_dict(
    config,
    is_leaf=lambda path, _: path[:1] == ('study',) and len(path) == 2,
    sep='.',
  )


def unknown(paths: Iterable[str]) -> str:
  """The message for fields that this version does not have."""
  return '; '.join(
    f'config.{path} is now {RENAMED[path]}'
    if path in RENAMED
    else f'this version has no config.{path}'
    for path in paths
  )


def check_fields(config: ml_collections.ConfigDict) -> None:
  """Refuses the fields that `read` would refuse, before a run writes them.

  Raises:
    ValueError: names the fields.
  """
  content = config.to_dict()
  if extra := _extra(flatten(content), flatten(_schema(content))):
    raise ValueError(f'{unknown(extra)}.')


def load(path: pathlib.Path) -> dict:
  """The content of a config.json, unchanged.

  Raises:
    ValueError: if the file is missing, truncated, or not a JSON object; names
      it.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    # Of a family, of several seeds, of a study.
    inner = sorted(found.parent for found in path.parent.glob(f'*/{path.name}'))
    listed = ', '.join(repr(str(one)) for one in inner[:_MOST_LISTED])
    others = len(inner) - _MOST_LISTED
    more = f' and {others} more' if others > 0 else ''
    hint = f' Below it are the runs {listed}{more}.' if inner else ''
    raise ValueError(
      f'{str(path.parent)!r} holds no run: there is no {path.name}.{hint}'
    )
  content = files.read_json(path)
  if not isinstance(content, dict):
    raise ValueError(
      f'{str(path)!r} holds a JSON {type(content).__name__}, not an object.'
    )
  return content


def read(folder: pathlib.Path) -> ml_collections.ConfigDict:
  """The config of the run in a folder, with every field of this version.

  Raises:
    ValueError: if the folder holds no run, or its config.json is truncated, has
      a field that this version does not have, or a value of the wrong type.
  """
  path = pathlib.Path(folder) / FILE
  content = load(path)
  config = _schema(content)
  for name, value in complete(content, flatten(config), path).items():
    _set(config, name, value, path)
  return config


def read_network(folder: pathlib.Path) -> ml_collections.ConfigDict:
  """`read` of a folder that is to hold one network.

  Raises:
    ValueError: as `read`, and for a training from several seeds; names the
      folders of its networks.
  """
  config = read(folder)
  number = config.train.num_seeds
  if number > 1:
    first, last = (
      str(pathlib.Path(folder) / f'seed{seed}')
      for seed in (config.seed, config.seed + number - 1)
    )
    raise ValueError(
      f'{str(folder)!r} holds {number} networks, one for each seed; give the '
      f'folder of one of them, {first!r} to {last!r}.'
    )
  return config


def complete(
  content: dict, defaults: dict[str, object], path: pathlib.Path
) -> dict[str, object]:
  """Path -> value of a run's fields; prints which defaults it fills in.

  Args:
    content: of the run's config.json.
    defaults: path -> default of every field of this version.
    path: of the config.json, for messages.

  Raises:
    ValueError: names the fields that are not among the defaults.
  """
  given = flatten(content)
  if extra := _extra(given, defaults):
    raise ValueError(f'{str(path)!r} is of another version: {unknown(extra)}.')
  if lacking := [name for name in defaults if name not in given]:
    taken = ', '.join(f'config.{name} = {defaults[name]!r}' for name in lacking)
    progress.say(
      f'{str(path)!r} is of an older version; filled in defaults: {taken}'
    )
  return {**defaults, **given}


def defaults_of(config: ml_collections.ConfigDict) -> dict[str, object]:
  """Path of each field of a config -> its default; None for unknown fields."""
  content = config.to_dict()
  known = flatten(_schema(content))
  return {name: known.get(name) for name in flatten(content)}


def _extra(given: Iterable[str], known: Iterable[str]) -> list[str]:
  return [name for name in given if name not in known]


def _tuples(value):
  """A JSON value with its lists as tuples, as configs have them."""
  if isinstance(value, dict):
    return {name: _tuples(item) for name, item in value.items()}
  if isinstance(value, list):
    return tuple(_tuples(item) for item in value)
  return value


def _schema(content: dict) -> ml_collections.ConfigDict:
  """Every field that a run of this experiment has, with its default."""
  for module in (predict, export, calibrate, demo, report):
    alone = module.get_config()
    if content.get('experiment') == alone.experiment:
      # It trains nothing and has fields of its own only.
      return alone
  schema = default.get_config()
  for module in (compare, study):
    config = module.get_config()
    own = [name for name in config if name not in schema]
    if content.get('experiment') == config.experiment or any(
      name in content for name in own
    ):
      for name in own:
        schema[name] = config[name]
  return schema


def _set(config, name: str, value, path: pathlib.Path) -> None:
  """Sets a field to a value of JSON."""
  *parents, last = name.split('.')
  for parent in parents:
    config = config[parent]
  known, new = config[last], _tuples(value)
  if isinstance(known, ml_collections.ConfigDict) and isinstance(new, dict):
    new = ml_collections.ConfigDict(new)
  try:
    if isinstance(known, float) and type(new) is int:
      new = float(new)
    if new is None and known is not None:
      raise TypeError('null is not allowed')
    config[last] = new
  except (TypeError, ValueError, OverflowError) as error:
    raise ValueError(
      f'{str(path)!r}: config.{name} is {value!r}: {error}.'
    ) from error
