"""Atomic writes: a file is written completely or not at all.

A kill during a write leaves the old file, or none, but never half of the new
one. This module imports the standard library only, so that any module may
import it.
"""

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator

# Bytes at each end of a file of which `quick_sum` takes a hash.
_ENDS = 1 << 14


@contextlib.contextmanager
def replacing(
  path: str | os.PathLike[str], suffix: str = ''
) -> Iterator[pathlib.Path]:
  """Yields a temporary path; the file written there then replaces `path`.

  The temporary file lies beside `path`, since only a rename within one file
  system is atomic. It is flushed to disk before the rename, and deleted after
  an exception.

  Args:
    path: the file; its folder is created.
    suffix: of the temporary name, for writers that look at it, such as
      np.savez ('.npz').

  Raises:
    OSError: if the file cannot be written, or nothing was written to the
      temporary path; names `path`.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  # With the process id, so that two processes never share a temporary file.
  partial = path.with_name(f'.{path.name}.{os.getpid()}.tmp{suffix}')
  try:
    yield partial
    with open(partial, 'rb+') as file:
      os.fsync(file.fileno())
    os.replace(partial, path)
  except BaseException as error:
    with contextlib.suppress(OSError):
      partial.unlink()
    if isinstance(error, OSError) and error.filename in (None, str(partial)):
      # The caller does not know the temporary name, and a full disk has none.
      raise OSError(error.errno, error.strerror, str(path)) from error
    raise


def write_whole(path: str | os.PathLike[str], data: str | bytes) -> None:
  """Writes a file atomically; text as UTF-8, with its line ends unchanged."""
  with replacing(path) as partial:
    partial.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: str | os.PathLike[str], content: object) -> None:
  """Writes a JSON file atomically.

  Raises:
    ValueError: for a NaN or an infinity.
  """
  write_whole(path, json.dumps(content, indent=2, allow_nan=False) + '\n')


def read_json(path: str | os.PathLike[str]) -> object:
  """Reads a JSON file.

  Raises:
    FileNotFoundError: if it does not exist.
    ValueError: if it is truncated or not JSON; names it.
  """
  with open(path, 'rb') as file:
    data = file.read()
  try:
    return json.loads(data)
  except (ValueError, RecursionError) as error:
    raise ValueError(
      f'{os.fspath(path)!r} is truncated or not JSON: {error}.'
    ) from error


def quick_sum(path: str | os.PathLike[str]) -> dict[str, object]:
  """What tells a file from a truncated and from another one, in no time.

  It reads the two ends only. A change between them is left to the checksums of
  the file's own format.

  Returns:
    {'size': bytes, 'ends': SHA-256 of the first and the last 16 KiB}.

  Raises:
    OSError: if the file cannot be read.
  """
  with open(path, 'rb') as file:
    size = os.fstat(file.fileno()).st_size
    digest = hashlib.sha256(file.read(_ENDS))
    file.seek(max(0, size - _ENDS))
    digest.update(file.read(_ENDS))
  return {'size': size, 'ends': digest.hexdigest()}
