"""Folders in a bucket, gs://BUCKET/PATH, for runs and for prepared datasets.

What most of this package reads and writes are ordinary files. So a run in a
bucket has a mirror, a folder of this machine:

- At the start its files are copied from the bucket, but for what only grows
  (checkpoints, TensorBoard, profiles) and runs within the run.
- At every checkpoint, and at the end, changed files are copied to the bucket.
  An object is written whole or not at all.
- Checkpoints never are in the mirror: Orbax reads and writes them in the bucket
  (`stored`).

A bucket has no locks. The process that opened a run last owns it: it leaves its
name in the file .owner, and another that still writes there stops at its next
copy (`push`).

A prepared dataset is copied once and kept (`kept_copy`), since its shards are
read at random places, which the reader of ArrayRecord can do in files only.

Needs gcsfs (the extra gcs). Credentials are those of the machine: gcsfs and
TensorStore find them.
"""

import atexit
import contextlib
import hashlib
import logging
import os
import pathlib
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from typing import NamedTuple

from nasfas_jax import files

SCHEME = 'gs://'
_OWNER = '.owner'
# Not copied to the mirror, wherever they are below it, or at its top.
_LEFT = ('checkpoints', 'tensorboard', 'profile')
_LEFT_AT_TOP = ('evaluate', 'export')
# Beside a kept copy: name -> checksum that the bucket had when it was copied.
_COPIED = '.copied.json'

# Address of a run -> its mirror.
_mirrors: dict[str, '_Mirror'] = {}


class _Object(NamedTuple):
  """An object of a bucket: its bytes, and what tells its content."""

  size: int
  checksum: str


class _Mirror:
  """The folder of this machine that stands for one of a bucket."""

  def __init__(self, url: str):
    self.url = url
    self.writes = False
    # Of the owner, if that is this process.
    self.token = ''
    # What was last copied: name -> hash of its content.
    self.sent = {}
    self.parent = pathlib.Path(tempfile.mkdtemp(prefix='nasfas-'))
    # Ends as the address does, for what shows the names of folders.
    self.folder = self.parent / url.removeprefix(SCHEME)
    self.folder.mkdir(parents=True)

  def pull(self) -> None:
    with reaching(self.url):
      for name, (size, _) in _listed(self.url).items():
        parts = name.split('/')
        if set(parts) & set(_LEFT) or parts[0] in (*_LEFT_AT_TOP, _OWNER):
          continue
        _download(f'{self.url}/{name}', size, self.folder / name)
    self.sent = self.files()

  def files(self) -> dict[str, str]:
    found = {}
    for path in sorted(self.folder.rglob('*')):
      # Locks, and files that are being written, start with a dot.
      if path.is_file() and not path.name.startswith('.'):
        # Not the time of the change: the clock may jump.
        with open(path, 'rb') as file:
          digest = hashlib.file_digest(file, 'sha256').hexdigest()
        found[path.relative_to(self.folder).as_posix()] = digest
    return found

  def push(self) -> None:
    with reaching(self.url):
      if self.token and self.owner() != self.token:
        raise OSError(
          f'Another process has taken over {self.url!r}. It goes on from the '
          'last checkpoint; this one stops.'
        )
      now = self.files()
      if self.token and not now and not self.sent:
        # A command that was refused before it wrote anything.
        _files().rm_file(f'{self.url}/{_OWNER}')
        self.token = ''
        return
      for name, state in now.items():
        if self.sent.get(name) != state:
          _files().put_file(
            str(self.folder / name), f'{self.url}/{name}', overwrite=True
          )
      for name in self.sent.keys() - now.keys():
        _files().rm_file(f'{self.url}/{name}')
    self.sent = now

  def claim(self) -> None:
    self.token = uuid.uuid4().hex
    with reaching(self.url):
      _files().pipe_file(f'{self.url}/{_OWNER}', self.token.encode())

  def owner(self) -> str:
    return _files().cat_file(f'{self.url}/{_OWNER}').decode()


@atexit.register
def discard() -> None:
  """Deletes all mirrors, as the exit of the process does."""
  for mirror in list(_mirrors.values()):
    shutil.rmtree(mirror.parent, ignore_errors=True)


def is_remote(path: str | os.PathLike[str]) -> bool:
  """Whether a path is an address in a bucket.

  Raises:
    ValueError: for an address of another kind, or what looks like one.
  """
  text = os.fspath(path)
  # One letter is a drive.
  if re.match(r'[A-Za-z][A-Za-z0-9+.-]+:/', text) and not text.startswith(
    SCHEME
  ):
    raise ValueError(
      f'{text!r} is an address of an unknown kind; allowed: a folder of this '
      'machine, or gs://BUCKET/FOLDER.'
    )
  return text.startswith(SCHEME)


def join(path: str | os.PathLike[str], *names: str) -> str | pathlib.Path:
  """A path below another, which may be an address in a bucket."""
  if is_remote(path):
    return '/'.join((os.fspath(path).rstrip('/'), *names))
  return pathlib.Path(path, *names)


def local(
  path: str | os.PathLike[str], *, write: bool = False, claim: bool = False
) -> pathlib.Path:
  """The folder of this machine in which to find a run.

  Args:
    path: of a run. That of a folder of this machine is given back. The files of
      a run in a bucket are copied at the first call.
    write: let `push` copy files to the bucket.
    claim: become the owner of a run in a bucket; implies `write`.

  Raises:
    ValueError: for an address without a bucket or a folder in it.
    OSError: if the bucket cannot be reached; one line.
  """
  if not is_remote(path):
    return pathlib.Path(path)
  url = checked(os.fspath(path))
  if url not in _mirrors:
    mirror = _mirrors[url] = _Mirror(url)
    try:
      mirror.pull()
    except BaseException:
      del _mirrors[url]
      shutil.rmtree(mirror.parent, ignore_errors=True)
      raise
  mirror = _mirrors[url]
  mirror.writes = mirror.writes or write or claim
  if claim and not mirror.token:
    mirror.claim()
  return mirror.folder


def local_file(path: str | os.PathLike[str]) -> pathlib.Path:
  """As `local`, of a file in the folder of a run."""
  if not is_remote(path):
    return pathlib.Path(path)
  folder, _, name = os.fspath(path).rpartition('/')
  return local(folder) / name


def checked(url: str) -> str:
  """An address without a slash at its end.

  Raises:
    ValueError: if it has no bucket, no folder, or an empty part.
  """
  url = url.rstrip('/')
  match = re.fullmatch(
    r'gs://[a-z0-9][a-z0-9._-]+((?:/[^/\0\r\n?#*\[\]]+)+)', url
  )
  if not match or {'.', '..'} & set(match[1].split('/')):
    raise ValueError(f'{url!r} is no address of a folder: gs://BUCKET/FOLDER.')
  return url


def push(folder: pathlib.Path) -> None:
  """Copies what changed in a mirror to the bucket; else does nothing.

  Args:
    folder: a mirror, or a folder in one; any other is left alone.

  Raises:
    OSError: if the bucket cannot be written, or another process has become the
      owner; one line.
  """
  mirror = _mirror_of(folder)
  if mirror is not None and mirror.writes:
    mirror.push()


@contextlib.contextmanager
def pushing(folder: pathlib.Path) -> Iterator[None]:
  """Calls `push` at the end, also after an exception, which goes first."""
  try:
    yield
  except BaseException:
    with contextlib.suppress(OSError):
      push(folder)
    raise
  push(folder)


def stored(path: pathlib.Path):
  """Where checkpoints lie: an epath.Path in the bucket for one in a mirror.

  Any other path is given back.
  """
  mirror = _mirror_of(path)
  if mirror is None:
    return path
  from etils import epath

  _files()
  return epath.Path(mirror.url) / path.relative_to(mirror.folder).as_posix()


def shown(text: str) -> str:
  """A text with the addresses of runs in place of their mirrors."""
  for mirror in _mirrors.values():
    text = text.replace(str(mirror.folder), mirror.url)
  return text


def _mirror_of(path: pathlib.Path) -> _Mirror | None:
  for mirror in _mirrors.values():
    if path.is_relative_to(mirror.folder):
      return mirror
  return None


def kept_copy(
  url: str, say: Callable[[str], None], parent: pathlib.Path | None = None
) -> pathlib.Path:
  """A copy of a folder on this machine, kept from one run to the next.

  A file is not copied again if the bucket has the same checksum as when it was
  copied, and the copy has its size.

  Args:
    url: address of the folder.
    say: is told of a copy.
    parent: of the copies; None: NASFAS_DATA_COPIES, or a folder in the user's
      cache.

  Raises:
    ValueError: if this user has no home folder, or the copy has another size.
    OSError: if the bucket cannot be read, or the copy not be written; one line.
  """
  url = checked(url)
  if parent is None:
    try:
      parent = pathlib.Path(
        os.environ.get('NASFAS_DATA_COPIES', '~/.cache/nasfas_jax/data')
      ).expanduser()
    except RuntimeError as error:
      raise ValueError(
        f'{url!r} is copied to the cache of this user, who has no home folder. '
        'Set NASFAS_DATA_COPIES or HOME.'
      ) from error
  folder = parent / url.removeprefix(SCHEME)
  with reaching(url):
    listed = _listed(url)
  kept = folder / _COPIED
  copied = _read_copied(kept)

  def is_stale(name: str, one: _Object) -> bool:
    path = folder / name
    same = copied.get(name) == one.checksum and path.is_file()
    return not same or path.stat().st_size != one.size

  stale = {name: one for name, one in listed.items() if is_stale(name, one)}
  if stale:
    mib = sum(one.size for one in stale.values()) / 2**20
    say(f'Copying {url} ({mib:.0f} MiB) to {folder}')
  for name, one in stale.items():
    with reaching(f'{url}/{name}'):
      _download(f'{url}/{name}', one.size, folder / name)
    copied[name] = one.checksum
    files.write_json(kept, copied)
  return folder


def _read_copied(path: pathlib.Path) -> dict[str, str]:
  """The content of `_COPIED`; {} without one, and all is copied again."""
  try:
    found = files.read_json(path)
  except (FileNotFoundError, ValueError):
    return {}
  return found if isinstance(found, dict) else {}


def names(url: str) -> list[str]:
  """The names of all files below an address.

  Raises:
    OSError: if the bucket cannot be reached; one line.
  """
  with reaching(url):
    return sorted(_listed(url.rstrip('/')))


@contextlib.contextmanager
def reaching(url: str) -> Iterator[None]:
  """Makes an error of a bucket one line that names the address.

  Raises:
    OSError: for any of them.
  """
  try:
    yield
  except OSError as error:
    if url in str(error):
      raise
    # Of this machine's own files it has a number.
    if error.errno is not None and error.filename is not None:
      raise
    raise OSError(f'{url!r} cannot be reached: {_line(error)}') from error
  except ValueError:
    raise
  except Exception as error:
    # Of aiohttp, google.auth and gcsfs; they have no common base class.
    raise OSError(f'{url!r} cannot be reached: {_line(error)}') from error


def _line(error: Exception) -> str:
  text = str(error).strip() or type(error).__name__
  return text.splitlines()[0][:200]


def _files():
  """The file system of gs://.

  Raises:
    ValueError: if gcsfs is not installed.
  """
  try:
    import gcsfs  # noqa: F401
  except ModuleNotFoundError as error:
    raise ValueError(
      f"{SCHEME} needs the package gcsfs: pip install -e '.[gcs]'."
    ) from error
  import fsspec

  if 'GCSFS_DEBUG' not in os.environ:
    # It logs the tracebacks of what it then raises.
    logging.getLogger('gcsfs').setLevel(logging.CRITICAL)
  # Other machines write there: a memory of what was in a folder misleads us,
  # and Orbax too, which makes its own file system of this kind.
  for name in ('gs', 'gcs'):
    settings = fsspec.config.conf.setdefault(name, {})
    settings.setdefault('use_listings_cache', False)
  return fsspec.filesystem('gs')


def _listed(url: str) -> dict[str, _Object]:
  """Name below an address -> what is there; {} if nothing is.

  Raises:
    ValueError: for a name that would leave the folder.
  """
  found = {}
  root = url.removeprefix(SCHEME) + '/'
  try:
    entries = _files().find(url, detail=True)
  except FileNotFoundError:
    return found
  for path, entry in entries.items():
    name = path.removeprefix(SCHEME).removeprefix(root)
    # The object of a folder, which some tools make, ends with a slash.
    if entry.get('type') != 'file' or path.endswith('/') or not name:
      continue
    parts = name.split('/')
    if {'', '.', '..'} & set(parts) or '\\' in name or '\0' in name:
      raise ValueError(f'{url!r} has an object with the name {name!r}.')
    # An object that was uploaded in parts has no MD5.
    checksum = entry.get('md5Hash') or entry.get('crc32c') or ''
    found[name] = _Object(int(entry['size']), checksum)
  return found


def _download(url: str, size: int, path: pathlib.Path) -> None:
  """Copies an object to a file, whole or not at all."""
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
  try:
    _files().get_file(url, str(partial))
    if partial.stat().st_size != size:
      raise ValueError(
        f'{url!r} has {size} bytes, its copy {partial.stat().st_size}: it '
        'changed meanwhile, or the copy was cut off. Try again.'
      )
    os.replace(partial, path)
  finally:
    partial.unlink(missing_ok=True)
