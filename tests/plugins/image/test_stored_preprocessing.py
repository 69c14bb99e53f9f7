"""What stands beside a network about its pictures may be anything."""

from __future__ import annotations

import pytest

from vecdb import EmbedderUnavailableError
from vecdb_image.stored_preprocessing import from_processor_file


@pytest.mark.parametrize(
    "said",
    [
        '{"image_mean": 0.5, "image_std": 0.5, "size": 1e999}',
        '{"image_mean": 0.5, "image_std": 0.5, "crop_size": 1e999}',
        '{"image_mean": 0.5, "image_std": 0.5, "resample": 1e999}',
        '{"a":' * 100_000,
        '{"image_mean": [1, 2], "image_std": 0.5}',
        '{"image_mean": 0.5, "image_std": 0.5, "rescale_factor": 0}',
        "[]",
    ],
)
def test_what_cannot_be_is_refused(said, tmp_path):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(said)
    with pytest.raises(EmbedderUnavailableError, match="cannot be read as an image processor"):
        from_processor_file(path)
