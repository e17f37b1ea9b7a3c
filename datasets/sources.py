"""What a prepared dataset was made from, beside its shards.

SOURCES_FILE has a line for each listed clip: its id, one word for each of
`PARTS`, and its properties (null: it was skipped). made_from.json holds the
settings. Another `prepare` compares both with what it would build.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping

from nasfas_datasets import clip_cache, listing
from nasfas_jax import files

SOURCES_FILE = 'sources.jsonl'
# What of a clip can differ, as messages call it.
PARTS = ('label', 'split', 'box', 'field', 'file')


def _digest(content: object) -> str:
  text = json.dumps(content, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def parts(clip: listing.Clip, root: pathlib.Path) -> list[object]:
  """What a clip is made from, one word for each of `PARTS`.

  Files count by their size and the time of their last change. Paths count from
  the root, so that a dataset may be moved.

  Raises:
    OSError: if a file of the clip is gone.
  """
  fields = clip_cache.clip_fields(clip)
  for name in ('path', 'boxes', 'box', 'depth', 'label', 'split'):
    del fields[name]
  box = clip.boxes and [
    clip.boxes.format
    if isinstance(clip.boxes.format, str)
    else clip.boxes.format.__qualname__,
    _relative(clip.boxes.path, root),
    clip_cache.status(clip.boxes.path),
    # A function has one size for good.
    *(
      [list(clip.boxes.size)]
      if clip.boxes.size and isinstance(clip.boxes.format, str)
      else []
    ),
  ]
  paths = [clip.path] if clip.depth is None else [clip.path, clip.depth]
  return [
    clip.label,
    clip.split,
    _digest([box, clip.box]),
    _digest(fields),
    _digest([[_relative(p, root), *clip_cache.status(p)] for p in paths]),
  ]


def _relative(path: pathlib.Path, root: pathlib.Path) -> str:
  if path.is_relative_to(root):
    return path.relative_to(root).as_posix()
  return str(path)


def write(
  folder: pathlib.Path,
  clips: Mapping[str, list[object]],
  properties: Mapping[str, dict],
) -> None:
  """Writes the file of sources.

  Args:
    folder: of the shards.
    clips: id -> `parts`.
    properties: id -> what is known of the file; a skipped clip has none.
  """
  lines = [
    json.dumps([name, *words, properties.get(name)])
    for name, words in clips.items()
  ]
  files.write_whole(folder / SOURCES_FILE, ''.join(f'{x}\n' for x in lines))


@dataclasses.dataclass(frozen=True)
class Sources:
  """A file of sources: id -> `parts`, id -> properties."""

  clips: dict[str, list[object]]
  properties: dict[str, dict[str, object]]


def read(folder: pathlib.Path) -> Sources:
  """Reads the file of sources; an absent one is empty.

  Raises:
    ValueError: for a damaged file; names it.
  """
  path = folder / SOURCES_FILE
  clips, properties = {}, {}
  if not path.exists():
    return Sources(clips, properties)
  with open(path, encoding='utf-8') as lines:
    for number, line in enumerate(lines, 1):
      try:
        name, words, known = _read_line(line)
      except ValueError as error:
        raise ValueError(
          f'{path}, line {number} is damaged: prepare again with --replace.'
        ) from error
      clips[name] = words
      if known is not None:
        properties[name] = known
  return Sources(clips, properties)


def _read_line(line: str) -> tuple[str, list[object], dict | None]:
  """(id, `parts`, properties); raises ValueError for another form."""
  content = json.loads(line)
  if not isinstance(content, list) or len(content) != len(PARTS) + 2:
    raise ValueError(f'{line[:80]!r} is not {len(PARTS) + 2} values')
  name, *words, known = content
  if not isinstance(name, str) or not isinstance(known, dict | None):
    raise ValueError(f'{line[:80]!r} holds other kinds of values')
  return name, words, known


def difference(
  old: Mapping[str, list[object]], new: Mapping[str, list[object]]
) -> list[str]:
  """How the clips of two builds differ, in words; [] if they do not."""
  found = []

  def add(what: str, names: Iterable[str]) -> None:
    names = list(names)
    if names:
      clips = 'clip' if len(names) == 1 else 'clips'
      found.append(f'{len(names)} {clips} {what} ({listing.shorten(names)})')

  add('more', (name for name in new if name not in old))
  add('fewer', (name for name in old if name not in new))
  both = [name for name in new if name in old]
  for place, part in enumerate(PARTS):
    add(
      f'with another {part}',
      (name for name in both if new[name][place] != old[name][place]),
    )
  return found
