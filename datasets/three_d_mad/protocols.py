"""The protocols of 3DMAD: classification, and leave-one-subject-out.

Every second of the other 16 subjects sets the threshold. The publication draws
these 8 at random. Sessions 01 and 02 are live and 03 is masks, so they are no
domains: a domain would be the label.
"""

from nasfas_datasets.three_d_mad import layout
from nasfas_jax.data.protocols.definition import (
  Protocol,
  of_subjects,
  official,
)

PLACE = 90
HEADLINE = ('hter', 'auc', 'eer')


def protocols() -> list[Protocol]:
  """classification and leave_one_subject_out/SUBJECT."""
  name = 'three_d_mad'
  subjects = [
    f'{number:02d}'
    for numbers in layout.SUBJECTS.values()
    for number in numbers
  ]

  def held_out(subject: str) -> Protocol:
    others = [other for other in subjects if other != subject]
    parts = {'train': others[0::2], 'dev': others[1::2], 'test': [subject]}
    return Protocol(
      name=f'{name}/leave_one_subject_out/{subject}',
      datasets=(name,),
      **{part: of_subjects(chosen) for part, chosen in parts.items()},
      domain_field='dataset',
      headline=HEADLINE,
    )

  return [
    official(f'{name}/classification', name, {}, {}, 'dataset', HEADLINE),
    *(held_out(subject) for subject in subjects),
  ]
