"""The decoding of clips on Apache Beam (extra [beam]).

The records are those of the processes of one machine: the same function makes
them, and TFDS orders them by the same hash of their ids.
"""

import pathlib
from collections.abc import Callable, Sequence

from nasfas_datasets import listing
from nasfas_jax import files

Work = Callable[[listing.Clip], tuple[listing.Clip, dict | None, str]]


def require() -> None:
  """Raises ImportError, with what to install, where Beam is missing."""
  try:
    import apache_beam  # noqa: F401
  except ImportError as error:
    raise ImportError(
      'Building on Apache Beam needs the extra [beam]: pip install '
      "'nasfas_jax[beam]'."
    ) from error


def options(arguments: Sequence[str]):
  """Beam's own options; the direct runner where none are given."""
  require()
  from apache_beam.options.pipeline_options import PipelineOptions

  return PipelineOptions(list(arguments) or ['--runner=DirectRunner'])


def examples(clips: Sequence[listing.Clip], work: Work, report: pathlib.Path):
  """A transform that makes the (id, record) pairs of clips.

  Args:
    clips: to decode.
    work: makes (clip, record or None, why it is not one) of a clip; picklable.
    report: file that the skipped clips are written to, on a file system that
      all workers share: a JSON list of (clip id, reason).
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
