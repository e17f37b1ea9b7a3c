"""Decoding of clips on Apache Beam (extra [beam]).

The records are the same as in a build on one machine: the same function makes
them, and TFDS orders them by the same hash of their ids.
"""

import pathlib
from collections.abc import Callable, Sequence

from nasfas_datasets import listing
from nasfas_jax import files

Work = Callable[[listing.Clip], tuple[str, dict | None, listing.Bad | None]]


def require() -> None:
  """Raises ImportError if Beam is missing; says what to install."""
  try:
    import apache_beam  # noqa: F401
  except ImportError as error:
    raise ImportError(
      'Building on Apache Beam needs the extra [beam]: pip install '
      "'nasfas_jax[beam]'."
    ) from error


def options(arguments: Sequence[str]):
  """Parses Beam's own options; without any, selects the direct runner."""
  require()
  from apache_beam.options.pipeline_options import PipelineOptions

  return PipelineOptions(list(arguments) or ['--runner=DirectRunner'])


def examples(clips: Sequence[listing.Clip], work: Work, report: pathlib.Path):
  """A Beam transform that yields the (id, record) pairs of clips.

  Args:
    clips: to decode.
    work: clip -> (id, record with its `properties`, or None and why there is
      none); picklable.
    report: file for what is said of each clip, a JSON list of (id, properties,
      why it is bad), on a file system that all workers share.
  """
  require()
  import apache_beam as beam

  class Decode(beam.PTransform):
    def expand(self, pipeline):
      made = (
        pipeline
        | 'Clips' >> beam.Create(list(clips))
        | 'Spread' >> beam.Reshuffle()
        | 'Decode' >> beam.Map(work)
      )
      _ = (
        made
        | 'Said' >> beam.Map(_said)
        | 'All' >> beam.combiners.ToList()
        | 'Report' >> beam.Map(_write, str(report))
      )
      return (
        made
        | 'Good' >> beam.Filter(lambda result: result[1] is not None)
        | 'Record' >> beam.Map(_record)
      )

  return Decode()


def _said(result):
  """What is said of a clip: (id, properties, why it is bad)."""
  name, record, bad = result
  return name, record and record['properties'], bad


def _record(result):
  """The (id, record) pair of a clip, for TFDS."""
  name, record, _ = result
  return name, {k: v for k, v in record.items() if k != 'properties'}


def _write(said: list, path: str) -> None:
  files.write_json(path, sorted(said, key=lambda words: words[0]))


def read(report: pathlib.Path) -> list:
  """What a report says of each clip."""
  return files.read_json(report)
