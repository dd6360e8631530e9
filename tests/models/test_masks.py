"""PaliGemma's boxes and masks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bezel.errors import InvalidRequestError, ModelFileError
from bezel.models.vision.masks import MaskDecoder
from bezel.text.detections import Detection, detections

CODES = tuple(range(0, 128, 8))


def test_objects_of_an_answer() -> None:
    segments = "".join(f"<seg{code:03d}>" for code in CODES)
    answer = (
        f"<loc0256><loc0000><loc1023><loc0512> cat ; <loc0000><loc0001><loc0002><loc0003>{segments} a dog; "
        "<loc0001><loc0002> half ; <loc1024><loc0000><loc0000><loc0000> off"
    )
    assert detections(answer) == [
        Detection("cat", 0.25, 0.0, 1023 / 1024, 0.5),
        Detection("a dog", 0.0, 1 / 1024, 2 / 1024, 3 / 1024, CODES),
    ]
    assert detections(answer)[0].pixels(200, 100) == (50, 0, 200, 50)
    assert detections("no objects") == []


@pytest.fixture(scope="module")
def oracle() -> Any:
    """The decoder in torch, and its state under the names of the file."""
    torch = pytest.importorskip("torch")
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(
                nn.Conv2d(128, 128, 3, padding=1), nn.ReLU(), nn.Conv2d(128, 128, 3, padding=1), nn.ReLU(),
                nn.Conv2d(128, 128, 1),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            return x + self.net(x)

    torch.manual_seed(2)
    widths = (128, 128, 64, 32, 16)
    doubling = [m for a, b in pairwise(widths) for m in (nn.ConvTranspose2d(a, b, 4, 2, 1), nn.ReLU())]
    decoder = nn.Sequential(nn.Conv2d(512, 128, 1), nn.ReLU(), Block(), Block(), *doubling, nn.Conv2d(16, 1, 1))
    embedding = torch.randn(128, 512)
    state = {f"decoder.{name}": value.numpy() for name, value in decoder.state_dict().items()}
    return torch, decoder, embedding, state | {"_vq_vae._embedding": embedding.numpy()}


def test_masks_are_those_of_torch(oracle: Any, tmp_path: Path) -> None:
    torch, decoder, embedding, state = oracle
    np.savez(tmp_path / "vae-oid.npz", **state, **{"encoder.0.weight": np.zeros(3)})
    found = MaskDecoder.load(tmp_path / "vae-oid.npz").mask(CODES)
    with torch.no_grad():
        wanted = decoder(embedding[list(CODES)].reshape(1, 4, 4, 512).permute(0, 3, 1, 2))[0, 0].numpy()
    assert found.shape == (64, 64) and wanted.std() > 1e-3
    np.testing.assert_allclose(found, np.clip(wanted * 0.5 + 0.5, 0, 1), atol=1e-5)


def test_other_files_and_codes_are_refused(oracle: Any, tmp_path: Path) -> None:
    *_, state = oracle
    decoder = MaskDecoder(state)
    for codes in ((), CODES[:-1], (*CODES[:-1], 128), (*CODES[:-1], -1)):
        with pytest.raises(InvalidRequestError, match="16 codes"):
            decoder.mask(codes)
    with pytest.raises(ModelFileError, match=r"decoder\.4\.bias has shape"):
        MaskDecoder(state | {"decoder.4.bias": np.zeros(3, np.float32)})
    with pytest.raises(ModelFileError, match="_embedding"):
        MaskDecoder({name: value for name, value in state.items() if "decoder" in name})
    for content in (b"", b"PK\x03\x04 no archive", b"\x80\x04K\x01."):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(ModelFileError, match=r"bad\.npz"):
            MaskDecoder.load(tmp_path / "bad.npz")
