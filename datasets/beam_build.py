"""Decoding of clips on Apache Beam (extra [beam]).

The records are the same as in a build on one machine: the same function makes
them, and TFDS orders them by the same hash of their ids.
"""

import pathlib
from collections.abc import Callable, Sequence

from nasfas_datasets import listing
from nasfas_jax import files

Work = Callable[[listing.Clip], tuple[listing.Clip, dict | None, str]]


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
    work: clip -> (clip, record or None, reason why there is none); picklable.
    report: file for the skipped clips, a JSON list of (clip id, reason), on a
      file system that all workers share.
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
        | 'Bad' >> beam.Filter(lambda result: result[1] is None)
        | 'Reason' >> beam.Map(lambda result: (result[0].clip_id, result[2]))
        | 'All' >> beam.combiners.ToList()
        | 'Report' >> beam.Map(_write, str(report))
      )
      return (
        made
        | 'Good' >> beam.Filter(lambda result: result[1] is not None)
        | 'Record' >> beam.Map(lambda result: (result[0].clip_id, result[1]))
      )

  return Decode()


def _write(skipped: list[tuple[str, str]], path: str) -> None:
  files.write_json(path, sorted(skipped))


def read(report: pathlib.Path) -> list[tuple[str, str]]:
  """The skipped clips of a report."""
  return [tuple(pair) for pair in files.read_json(report)]
