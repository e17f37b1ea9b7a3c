"""The commands, fields and links of the pages, and whether they can be right.

Nothing is run: a command line is parsed, in this process, by the parser that it
would meet. So a misspelt field, flag, variant, protocol, dataset or file is
found without a training.
"""

import ast
import contextlib
import functools
import io
import pathlib
import re
import shlex
import sys
from collections.abc import Iterator

from absl import flags
from absl.testing import flagsaver

from nasfas_datasets import fas_builder, folders, prepare
from nasfas_jax import main, run_config
from nasfas_jax.data import protocols
from nasfas_jax.report import family_table

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(
  path.relative_to(ROOT).as_posix()
  for pattern in (
    'README.md',
    'docs/**/*.md',
    'launch/*.md',
    'examples/*.md',
    'benchmarks/*.md',
    'datasets/*/README.md',
  )
  for path in ROOT.glob(pattern)
)
# Their docstrings have commands.
CONFIGS = sorted(
  path.relative_to(ROOT).as_posix() for path in ROOT.glob('configs/*.py')
)
# A command starts with one of these.
PROGRAMS = (
  'bash',
  'chromium',
  'git',
  'jupyter',
  'pip',
  'pytest',
  'python',
  'ruff',
)
# Not ours to check: their arguments are other people's.
_FOREIGN = ('chromium', 'git', 'jupyter')
# What a reader replaces: NAME, MY_VIDEOS, RUN/evaluate.
_PLACEHOLDER = re.compile(r'(?<![A-Za-z0-9])[A-Z][A-Z_]+(?![A-Za-z0-9])')
# Made up in docs/extending.md; it lives in the tests.
_EXAMPLE = 'example_fas'
_FENCE = re.compile(r'^( *)```(\w*)\n(.*?)^ *```', re.MULTILINE | re.DOTALL)


class DocumentError(ValueError):
  """A page says what cannot be right."""


def blocks(text: str) -> list[tuple[str, str]]:
  """(language, content) of the fenced blocks of a page."""
  return [(found[2], found[3]) for found in _FENCE.finditer(text)]


def spans(text: str) -> list[str]:
  """The code in the running text, in backquotes."""
  text = _FENCE.sub('', text)
  # A span may go over the end of a line.
  return [' '.join(span.split()) for span in re.findall(r'`([^`]+)`', text)]


def commands(text: str) -> list[str]:
  """The commands of a page, in blocks and in the running text."""
  found = []
  for language, content in blocks(text):
    if language not in ('', 'sh', 'bash'):
      continue
    lines = [
      line.strip()
      for line in content.replace('\\\n', ' ').splitlines()
      if line.strip() and not line.strip().startswith('#')
    ]
    parts = [
      part for line in lines for part in re.split(r'\s&&\s', line) if part
    ]
    # All lines of such a block are commands; `check_command` names the others.
    if any(map(_is_command, parts)):
      found += parts
  found += [span for span in spans(text) if _is_command(span)]
  return found


def of_docstring(text: str) -> list[str]:
  """The commands of a config's docstring.

  A line that starts with --config is short for the main module's command.
  """
  docstring = ast.get_docstring(ast.parse(text)) or ''
  found = []
  for line in docstring.replace('\\\n', ' ').splitlines():
    if line.startswith('--config='):
      # `--config=train:debug, :paper` names more variants behind the first.
      line = f'python -m nasfas_jax.main {line.split(", ")[0]}'
    if _is_command(line):
      found.append(line)
  return found


def _is_command(text: str) -> bool:
  words = text.split()
  return len(words) > 1 and _program(words[0]) in PROGRAMS


def _program(word: str) -> str:
  """The program that a command starts with, also of a virtual environment."""
  return word.rpartition('/')[2]


def check_command(line: str) -> None:
  """Checks a command without running it.

  Raises:
    DocumentError: says what is wrong.
  """
  try:
    words = shlex.split(line, comments=True)
  except ValueError as error:
    raise DocumentError(f'{line!r}: {error}') from error
  program, rest = _program(words[0]), words[1:]
  if program not in PROGRAMS:
    raise DocumentError(f'{line!r}: is {program!r} a program?')
  if program in _FOREIGN:
    return
  try:
    if program == 'python':
      _check_python(rest)
    elif program == 'pip':
      _check_pip(rest)
    elif program == 'bash':
      _check_file(rest[0])
      _check_main(_after_options(*rest))
    else:
      for word in rest:
        if '/' in word and not word.startswith('-'):
          _check_file(word)
  except DocumentError as error:
    raise DocumentError(f'{line!r}: {error}') from error


def _check_file(name: str) -> None:
  """A file or folder of the repository, unless a run leaves it."""
  if name.startswith('runs/') or _PLACEHOLDER.search(name):
    return
  if not (ROOT / name).exists():
    raise DocumentError(f'there is no {name!r}.')


def _after_options(script: str, *words: str) -> list[str]:
  """The arguments of the run that a launcher starts; checks its own."""
  options = words[: words.index('--')] if '--' in words else ()
  head, _, _ = (ROOT / script).read_text(encoding='utf-8').partition('\nset -')
  if not options and '-- --config=' in head:
    # Such as --delete: no run.
    options, words = words, ('--',)
  for word in options:
    name = word.partition('=')[0]
    if name.startswith('-') and not re.search(rf'#.* {name}[= ,\n]', head):
      raise DocumentError(f'{script} has no option {name}.')
  return list(words[words.index('--') + 1 :] if '--' in words else words)


def _check_pip(words: list[str]) -> None:
  for word in words:
    for extras in re.findall(r'^\.\[(.+)\]$', word):
      for extra in extras.split(','):
        if extra not in _extras():
          raise DocumentError(f'setup.py has no extra {extra!r}.')


@functools.cache
def _extras() -> tuple[str, ...]:
  tree = ast.parse((ROOT / 'setup.py').read_text(encoding='utf-8'))
  (found,) = (
    node.value
    for node in ast.walk(tree)
    if isinstance(node, ast.keyword) and node.arg == 'extras_require'
  )
  return tuple(key.value for key in found.keys)


def _check_python(words: list[str]) -> None:
  if words[0] == '-c':
    ast.parse(words[1])
    return
  if words[0] != '-m':
    _check_file(words[0])
    return
  module, *rest = words[1:]
  if module == 'nasfas_jax.main':
    _check_main(rest)
  elif module == 'nasfas_datasets.prepare':
    _check_prepare(rest)
  else:
    _check_module(module, rest)


def _check_module(module: str, words: list[str]) -> None:
  """Any other module of ours: its flags, by the text of its file."""
  if module in sys.stdlib_module_names:
    return
  name = module.replace('nasfas_datasets', 'datasets').replace('.', '/')
  _check_file(f'{name}.py')
  text = (ROOT / f'{name}.py').read_text(encoding='utf-8')
  known = re.findall(r"DEFINE_\w+\(\s*'(\w+)'|add_argument\('--(\w+)'", text)
  known = {name for pair in known for name in pair}
  for word in words:
    # Brackets stand around what may be left out.
    flag = re.match(r'\[?--(\w+)', word)
    if flag and flag[1] not in known:
      raise DocumentError(f'{module} has no flag --{flag[1]}.')


class _PrepareFlags:
  """`absl.flags` with values of its own: main has flags of the same names."""

  def __init__(self):
    self.values = flags.FlagValues()

  def __getattr__(self, name):
    return functools.partial(getattr(flags, name), flag_values=self.values)


@functools.cache
def _prepare_flags() -> flags.FlagValues:
  own, theirs = _PrepareFlags(), prepare.flags
  prepare.flags = own
  try:
    prepare._define_flags()
  finally:
    prepare.flags = theirs
  return own.values


def _check_prepare(words: list[str]) -> None:
  values = _prepare_flags()
  values.unparse_flags()
  for name in values:
    values[name].unparse()
  try:
    rest = values(['prepare', *words])
  except flags.Error as error:
    raise DocumentError(str(error)) from error
  if len(rest) > 1:
    raise DocumentError(f'unknown arguments: {rest[1:]}')
  dataset = values.dataset
  if dataset == _EXAMPLE or _PLACEHOLDER.search(dataset):
    return
  if dataset not in folders.dataset_folders():
    raise DocumentError(f'there is no dataset {dataset!r}.')
  configs = [
    config.name for config in fas_builder.builder_class(dataset).BUILDER_CONFIGS
  ]
  if values.config and values.config not in configs:
    raise DocumentError(f'{dataset} has no config {values.config!r}.')


def parse_main(words: list[str]):
  """(config, workdir) of a command line of the main module.

  Raises:
    DocumentError: with the line that a user would get.
  """
  argv = ['main', *words]
  given, said = sys.argv, io.StringIO()
  # ml_collections looks for overrides there, and for files from here.
  sys.argv = argv
  try:
    with (
      contextlib.chdir(ROOT),
      contextlib.redirect_stderr(said),
      flagsaver.flagsaver(),
    ):
      rest = main.parse_flags(argv)
      config = main.FLAGS.config.copy_and_resolve_references()
      workdir = main.FLAGS.workdir
  except SystemExit as stop:
    raise DocumentError(said.getvalue().strip()) from stop
  finally:
    sys.argv = given
  if len(rest) > 1:
    raise DocumentError(f'unknown arguments: {rest[1:]}')
  return config, workdir or str(main.default_workdir(config))


def _check_main(words: list[str]) -> None:
  # The module alone is named in running text.
  if not words or _PLACEHOLDER.search(words[0]):
    return
  config, _ = parse_main(words)
  run_config.check_fields(config)
  check_protocol(config.get('protocol', ''))


def check_protocol(name: str) -> None:
  """A protocol or a family of them, unless a reader has to fill it in."""
  if _PLACEHOLDER.search(name) or name.startswith(_EXAMPLE) or not name:
    return
  if name not in protocols.all_protocols() and not family_table.members(name):
    raise DocumentError(f'there is no protocol {name!r}.')


def runs(lines: list[str]) -> tuple[set[str], set[str]]:
  """The workdirs that commands make, and those that they read.

  An export belongs to the run that it is in.
  """
  made, read = set(), set()
  for line in lines:
    words = shlex.split(line, comments=True)
    module, arguments = words[1:3], words[3:]
    if module != ['-m', 'nasfas_jax.main'] or not arguments:
      continue
    if _PLACEHOLDER.search(arguments[0]):
      continue
    config, workdir = parse_main(arguments)
    if config.experiment in ('search', 'train', 'compare', 'study'):
      made.add(workdir)
    read.update(
      filter(
        None,
        (
          config.get('checkpoint', '').removesuffix('/export'),
          str(config.get('genotype', '')).removesuffix('/genotype.json'),
          *config.get('workdirs', '').split(','),
        ),
      )
    )
  return made, read


@functools.cache
def _fields() -> frozenset[str]:
  """The fields of all configs, and their sections."""
  found = set()
  for name in run_config.names():
    config, _ = parse_main([f'--config={name}'])
    found.update(_paths(config.to_dict(), ''))
  return frozenset(found)


def _paths(content: dict, prefix: str) -> Iterator[str]:
  for name, value in content.items():
    yield f'{prefix}{name}'
    if isinstance(value, dict):
      yield from _paths(value, f'{prefix}{name}.')


@functools.cache
def _builder_configs() -> frozenset[str]:
  return frozenset(
    config.name
    for dataset in folders.dataset_folders()
    for config in fas_builder.builder_class(dataset).BUILDER_CONFIGS
  )


def _field_paths(span: str) -> Iterator[str]:
  yield from re.findall(r'--config\.([\w.]+)', span)
  # `search.hold_out=type`, but neither `search.py` nor `config.json`.
  plain = re.fullmatch(r'(config\.\w[\w.]*|\w+\.\w[\w.]*)(=\S*)?', span)
  if plain and not re.search(r'\.(py|json|csv|md|npz|pth|sh|txt)$', plain[1]):
    yield plain[1].removeprefix('config.')


def check_span(span: str) -> None:
  """Checks the fields, the variants and the files that a span names.

  Raises:
    DocumentError: says what is wrong.
  """
  if _is_command(span):
    return
  sections = {path.split('.')[0] for path in _fields() if '.' in path}
  for path in _field_paths(span):
    explicit = span.startswith(('--', 'config.'))
    if _PLACEHOLDER.search(path) or path in _fields():
      continue
    if explicit or path.split('.')[0] in sections:
      raise DocumentError(f'`{span}`: no config has the field {path!r}.')
  for chosen in re.findall(r'--config=(\S+)', span):
    # `prepare` has a flag of the same name.
    if not _PLACEHOLDER.search(chosen) and chosen not in _builder_configs():
      parse_main([f'--config={chosen}'])
  # A file of the repository, with its folder.
  if re.fullmatch(
    r'(benchmarks|configs|datasets|docs|launch|nasfas_jax|tests)/[\w./-]+', span
  ) and not re.search(r'NAME|example_fas', span):
    _check_file(span)


def check_links(page: str, text: str) -> None:
  """Checks that what a page links to is there, headings included.

  Raises:
    DocumentError: names the link.
  """
  for target in re.findall(r'\]\(([^)\s]+)\)', _FENCE.sub('', text)):
    if re.match(r'[a-z]+:', target):
      continue
    name, _, anchor = target.partition('#')
    path = (ROOT / page).parent / name
    if not path.exists():
      raise DocumentError(f'{page}: there is no {target!r}.')
    if not anchor:
      continue
    other = path.read_text(encoding='utf-8') if name else text
    if anchor not in headings(other):
      raise DocumentError(f'{page}: there is no heading {target!r}.')


def headings(text: str) -> set[str]:
  """The anchors of a page's headings, as GitHub makes them."""
  found = re.findall(r'^#+ (.+)$', _FENCE.sub('', text), re.MULTILINE)
  return {
    re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in found
  }
