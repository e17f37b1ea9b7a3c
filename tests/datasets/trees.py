"""The complete lists of names of the licensed datasets, as empty-ish trees.

Files hold one byte: enough to be listed, not to be decoded.
"""

import pathlib

from nasfas_datasets.casia_surf_3dmask import layout as casia_surf_3dmask
from nasfas_datasets.msu_mfsd import layout as msu_mfsd
from nasfas_datasets.replay_attack import layout as replay_attack
from nasfas_datasets.siw import layout as siw

OULU_USERS = {
  'Train_files': range(1, 21),
  'Dev_files': range(21, 36),
  'Test_files': range(36, 56),
}


def oulu_npu():
  for folder, users in OULU_USERS.items():
    for user in users:
      for phone in range(1, 7):
        for session in range(1, 4):
          for code in range(1, 6):
            yield f'{folder}/{phone}_{session}_{user:02d}_{code}.avi'


def casia():
  for folder, count in (('train_release', 20), ('test_release', 30)):
    for number in range(1, count + 1):
      for code in ('1', '2', '3', '4', '5', '6', '7', '8'):
        yield f'{folder}/{number}/{code}.avi'
      for code in range(1, 5):
        yield f'{folder}/{number}/HR_{code}.avi'


def replay():
  for folder, clients in replay_attack.CLIENTS.items():
    for client in clients.split():
      for light in ('controlled', 'adverse'):
        for k in (1, 2):
          yield (
            f'{folder}/real/client{client}_session01_webcam_authenticate_'
            f'{light}_{k}.mov'
          )
        yield (
          f'enroll/{folder}/client{client}_session01_webcam_enroll_{light}.mov'
        )
        for support in ('fixed', 'hand'):
          for device, resolution, shown in (
            ('print', 'highdef', 'photo'),
            ('mobile', 'mobile', 'photo'),
            ('mobile', 'mobile', 'video'),
            ('highdef', 'highdef', 'photo'),
            ('highdef', 'highdef', 'video'),
          ):
            yield (
              f'{folder}/attack/{support}/attack_{device}_client{client}_'
              f'session01_{resolution}_{shown}_{light}.mov'
            )


def msu():
  for numbers in msu_mfsd.SUBJECTS.values():
    for number in numbers.split():
      client = f'{int(number):03d}'
      for camera, suffix in (('android', 'mp4'), ('laptop', 'mov')):
        yield f'scene01/real/real_client{client}_{camera}_SD_scene01.{suffix}'
        for code in ('ipad_video', 'iphone_video', 'printed_photo'):
          yield (
            f'scene01/attack/attack_client{client}_{camera}_SD_{code}_'
            f'scene01.{suffix}'
          )


def three_d_mad():
  for subject in range(1, 18):
    for session in range(1, 4):
      for shot in range(1, 6):
        yield f'{subject:02d}_{session:02d}_{shot:02d}.hdf5'


def hkbu():
  for folder in ('real', 'attack'):
    for subject in range(1, 13):
      # attack/09 writes its subject with one digit.
      number = '9' if (folder, subject) == ('attack', 9) else f'{subject:02d}'
      for camera in range(1, 8):
        for light in range(1, 7):
          yield (
            f'HKBU_MARs_V2/{folder}/{subject:02d}/{camera:02d}_{light:02d}_'
            f'{number}.avi'
          )


def surf():
  for number in range(48):
    subject = f'09{number:02d}_{number:03d}'
    for code in casia_surf_3dmask.CONDITIONS:
      yield f'CASIA_SURF_3DMask/Real/{subject}/{code}.MOV'
    for decoration in range(1, 4):
      for code in range(1, 7):
        yield f'CASIA_SURF_3DMask/Fake/{subject}/{decoration}/{code}.MOV'


def siw_m():
  counts = {
    'Live/Train/Live': 528,
    'Live/Test/Live': 131,
    'Paper/Paper': 117,
    'Replay/Replay': 98,
    'Partial/PaperCut/Partial_Eye': 57,
    'Partial/PaperCut/Partial_Mouth': 29,
    'Partial/PaperGlasses/Partial_Paperglass': 127,
    'Partial/FunnyeyeGlasses/Partial_Funnyeye': 160,
    'Mask/HalfMask/Mask_Half': 72,
    'Mask/SiliconeMask/Mask_Silicone': 27,
    'Mask/TransparentMask/Mask_Trans': 88,
    'Mask/PaperMask/Mask_Paper': 17,
    'Mask/MannequinHead/Mask_Mann': 40,
    'Makeup/Cosmetic/Makeup_Co': 50,
    'Makeup/Impersonation/Makeup_Im': 61,
    'Makeup/Obfuscation/Makeup_Ob': 23,
  }
  for stem, count in counts.items():
    first = 529 if 'Test' in stem else 1
    for number in range(first, first + count):
      yield f'{stem}_{number}.mov'
  yield 'Makeup/Cosmetic/Makeup_Co_55_noLive_546.mov'


def siw_subject(folder, subject, media=(1, 2, 3, 4)):
  """The nominal clips of a subject: 8 live, 4 print, 16 replay."""
  for sensor in (1, 2):
    for medium in (1, 2):
      for session in (1, 2):
        tail = '.m.mov' if (folder, sensor) == ('Test', 2) else '.mov'
        yield (
          f'{folder}/live/{subject}/{subject}-{sensor}-1-{medium}-'
          f'{session}{tail}'
        )
    for medium in (1, 2):
      yield f'{folder}/spoof/{subject}/{subject}-{sensor}-2-{medium}-1.mov'
    for medium in media:
      for session in (1, 2):
        yield (
          f'{folder}/spoof/{subject}/{subject}-{sensor}-3-{medium}-'
          f'{session}.mov'
        )


def siw_names():
  train = [*sorted(siw.DEV_SUBJECTS), *(f'{n:03d}' for n in range(31, 111))]
  for subject in train:
    yield from siw_subject('Train', subject)
  for number in range(111, 186):
    yield from siw_subject('Test', f'{number:03d}')


TREES = {
  'oulu_npu': oulu_npu,
  'siw': siw_names,
  'siw_m': siw_m,
  'casia_mfsd': casia,
  'replay_attack': replay,
  'msu_mfsd': msu,
  'three_d_mad': three_d_mad,
  'hkbu_mars_v2': hkbu,
  'casia_surf_3dmask': surf,
}


def write(root: pathlib.Path, names) -> pathlib.Path:
  """Writes one byte under every name."""
  made = set()
  for name in names:
    path = root / name
    if path.parent not in made:
      path.parent.mkdir(parents=True, exist_ok=True)
      made.add(path.parent)
    path.write_bytes(b'x')
  return root
