"""The decoder of PaliGemma's masks on the command line: models that have no use for it, and files that are none."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bezel.cli.main import app
from bezel.errors import ModelFileError, UnsupportedInputError
from bezel.models.vision.masks import MaskDecoder
from bezel.testing import instruction_sets


@pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
def test_masks_are_refused_where_no_objects_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MaskDecoder, "load", lambda path: object())
    Image.new("RGB", (30, 20)).save(tmp_path / "cat.png")
    asked = ["run", "--json", "--image", str(tmp_path / "cat.png"), "segment cat", "--masks", "vae-oid.npz"]
    refused = CliRunner().invoke(app, asked, input="")
    assert isinstance(refused.exception, UnsupportedInputError) and "load google/paligemma2" in str(refused.exception)


def test_files_that_hold_no_decoder_are_named_in_our_own_words(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.npz: cannot be read \(No such file or directory\); name"):
        MaskDecoder.load(tmp_path / "none.npz")
    file, picture, arrays = tmp_path / "vae-oid.npz", io.BytesIO(), io.BytesIO()
    Image.new("RGB", (30, 20)).save(picture, "PNG")
    np.savez(arrays, **{"decoder.0.weight": np.ones((128, 512, 1, 1), np.float32)})
    for content in (picture.getvalue(), b"", b"\x93NUMPY", arrays.getvalue()[:9000]):
        file.write_bytes(content)
        with pytest.raises(ModelFileError) as refused:
            MaskDecoder.load(file)
        assert str(refused.value) == f"{file}: is no whole vae-oid.npz; download it from big_vision again"
    file.write_bytes(arrays.getvalue())
    with pytest.raises(ModelFileError, match=r"^\S+: decoder\.0\.bias has shape \(0,\), not \(128,\); is this vae-oid"):
        MaskDecoder.load(file)
