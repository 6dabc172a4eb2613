"""What short runs on photographs have in common."""

import pytest

PHOTO_RUN = """
[PHOTOS]
path_to_search = {folder}/photos
loader = pillow
spatial_window_size = 16, 16, 1
[SYSTEM]
model_dir = {folder}/model
seed = 1
[NETWORK]
name = highresnet
sharing = hard_sharing
width = 0.25
batch_size = 4
batch_norm = recalibrated
whitening = yes
[MULTITASK]
image = PHOTOS
"""


@pytest.fixture(scope="session")
def write_photo_run():
    """Returns a function: folder of `photos`, sections of training, tasks and sources -> INI file of a short run."""

    def write(folder, sections):
        path = folder / "run.ini"
        path.write_text((PHOTO_RUN + sections).format(folder=folder))
        return path

    return write
