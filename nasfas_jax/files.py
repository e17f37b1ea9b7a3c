"""Files that are written whole or not at all.

A kill in the middle of a write leaves the old file, or none: never half of the
new one. Imports the standard library only, so that everything may import it.
"""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(
  path: str | os.PathLike[str], suffix: str = ''
) -> Iterator[pathlib.Path]:
  """Yields a temporary path; what was written there then replaces `path`.

  The temporary file lies beside `path`, as only a rename within one file system
  is atomic. It is on the disk before the rename and gone after an exception.

  Args:
    path: the file; its folder is made.
    suffix: end of the temporary name, for a writer that looks at it, as
      np.savez does ('.npz').

  Raises:
    OSError: names `path` if the file cannot be written there, or if nothing was
      written to the temporary path.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  # Of this process: two that write the same file do not share it.
  partial = path.with_name(f'.{path.name}.{os.getpid()}.tmp{suffix}')
  try:
    yield partial
    with open(partial, 'rb+') as file:
      os.fsync(file.fileno())
    os.replace(partial, path)
  except BaseException as error:
    with contextlib.suppress(OSError):
      partial.unlink()
    if isinstance(error, OSError) and error.filename == str(partial):
      # The caller knows the name of the file, not the temporary one.
      raise OSError(error.errno, error.strerror, str(path)) from error
    raise


def write_whole(path: str | os.PathLike[str], data: str | bytes) -> None:
  """Writes a file, see `replacing`; text as UTF-8 with its own line ends."""
  with replacing(path) as partial:
    partial.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: str | os.PathLike[str], content: object) -> None:
  """Writes JSON, see `replacing`; ValueError for a NaN or an infinity."""
  write_whole(path, json.dumps(content, indent=2, allow_nan=False) + '\n')


def read_json(path: str | os.PathLike[str]) -> object:
  """Reads JSON."""
  with open(path, encoding='utf-8') as file:
    return json.load(file)
