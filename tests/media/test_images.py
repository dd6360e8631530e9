"""Preprocessing of pictures against Transformers' processors for Gemma 3 and 3n (those on Pillow)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from bezel.errors import CorruptMediaError, InvalidRequestError, ModelFileError
from bezel.media.images import PanAndScan, Preprocessing, crops, picture_of

Image = pytest.importorskip("PIL.Image")

SIZES = [(1, 1), (37, 61), (896, 896), (640, 479), (3, 700), (1200, 31)]
MODES = ["RGB", "L", "LA", "RGBA", "P", "1", "CMYK"]


def drawn(width: int, height: int, mode: str = "RGB") -> Any:
    """A picture with edges, colours and noise; palettes and alpha where the mode has them."""
    rng = np.random.default_rng(width * height)
    y, x = np.mgrid[:height, :width]
    channels = [x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), (x // 7 + y // 5) % 2 * 255]
    array = np.stack(channels, axis=2).astype(np.uint8) ^ rng.integers(0, 32, (height, width, 3), np.uint8)
    image = Image.fromarray(array)
    if "A" not in mode:
        return image.convert(mode)
    alpha = Image.fromarray(rng.integers(0, 256, (height, width), np.uint8))
    image = image.convert(mode)
    image.putalpha(alpha)
    return image


def oracle(**options: Any) -> Any:
    pytest.importorskip("torch")
    module = pytest.importorskip("transformers.models.gemma3.image_processing_pil_gemma3")
    return module.Gemma3ImageProcessorPil(size={"height": 64, "width": 64}, **options)


def pixels(preprocessing: Preprocessing, picture: np.ndarray) -> np.ndarray:
    return preprocessing.pixels(preprocessing.square(picture))


def seen(processor: Any, image: Any) -> np.ndarray:
    """[parts, 64, 64, 3] as Transformers has it."""
    found = processor(images=[image], return_tensors="np")["pixel_values"]
    return np.asarray(found).transpose(0, 2, 3, 1)


def assert_same(found: list[np.ndarray], expected: np.ndarray) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32 and ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 1e-3 * 2  # of the range, -1 to 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_pixels_are_transformers_for_every_mode_and_shape(width: int, height: int, mode: str) -> None:
    image = drawn(width, height, mode)
    assert_same([pixels(Preprocessing(64), picture_of(image))], seen(oracle(), image))


def test_a_transparent_colour_of_a_palette_is_white() -> None:
    image = drawn(30, 20, "P")
    image.info["transparency"] = image.getpixel((4, 4))
    found = picture_of(image)
    assert found[4, 4].tolist() == [255, 255, 255]
    assert_same([pixels(Preprocessing(64), found)], seen(oracle(), image))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_upright_as_its_exif_says(orientation: int) -> None:
    load_image = pytest.importorskip("transformers.image_utils").load_image
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    drawn(40, 24).save(file, "PNG", exif=exif)
    image = Image.open(io.BytesIO(file.getvalue()))
    np.testing.assert_array_equal(picture_of(image), np.asarray(load_image(Image.open(file))))
    assert picture_of(image).shape == ((24, 40, 3) if orientation < 5 else (40, 24, 3))


def test_means_and_deviations_come_from_the_checkpoint() -> None:
    pytest.importorskip("torch")
    mean, std = [0.1, 0.5, 0.7], [0.2, 0.4, 0.9]
    image = drawn(50, 50)
    found = Preprocessing.from_hf({"image_mean": mean, "image_std": std}, 64)
    assert_same([pixels(found, picture_of(image))], seen(oracle(image_mean=mean, image_std=std), image))
    for wrong in (
        *({"image_mean": [1, 2]}, {"image_std": [1, 0, 1]}, {"image_mean": [float("nan")] * 3}),
        *({"pan_and_scan_min_crop_size": "many"}, {"pan_and_scan_max_num_crops": 2.5}),
        *({"pan_and_scan_min_crop_size": float("inf")}, {"pan_and_scan_min_ratio_to_activate": float("nan")}),
    ):
        with pytest.raises(ModelFileError, match=next(iter(wrong))):
            Preprocessing.from_hf(wrong, 64)


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (100, 100),
        (119, 100),
        (120, 100),
        (260, 100),
        (999, 110),
        (101, 350),
        (90, 41),
        (64, 500),
        (3000, 200),
        (77, 39),
    ],
)
def test_crops_are_transformers(width: int, height: int) -> None:
    settings = PanAndScan(min_crop_size=40, max_num_crops=5, min_ratio_to_activate=1.2)
    given = {f"pan_and_scan_{name}": value for name, value in vars(settings).items()}
    image = drawn(width, height)
    preprocessing = Preprocessing.from_hf(given, 64)
    assert preprocessing.crops == settings
    found = [pixels(preprocessing, part) for part in preprocessing.parts(picture_of(image), True)]
    assert_same(found, seen(oracle(do_pan_and_scan=True, **given), image))


def test_crops_lie_side_by_side_and_cover_the_picture() -> None:
    picture = picture_of(drawn(1001, 300))
    found = crops(picture, PanAndScan())
    assert len(found) == 3
    np.testing.assert_array_equal(np.concatenate(found, axis=1), picture)


@pytest.mark.parametrize(
    ("width", "height", "count"), [(600, 590, 1), (1400, 800, 1), (1792, 1000, 3), (600, 300, 3), (300, 1200, 5)]
)
def test_large_and_very_long_pictures_are_cropped_unasked(width: int, height: int, count: int) -> None:
    picture, preprocessing = picture_of(drawn(width, height)), Preprocessing(896)
    assert len(preprocessing.parts(picture)) == count
    assert len(preprocessing.parts(picture, False)) == 1


def test_sixteen_bits_of_grey_become_eight() -> None:
    image = Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16))
    assert picture_of(image)[..., 0].ravel().tolist() == list(range(256))
    wide = Image.fromarray(np.array([[-5, 0, 30_000, 65_535, 70_000]], np.int32))
    assert wide.mode == "I" and picture_of(wide)[0, :, 1].tolist() == [0, 0, 117, 255, 255]
    image.info["transparency"] = 257 * 9
    assert picture_of(image)[0, 8:11, 0].tolist() == [8, 255, 10]


def test_alpha_that_is_multiplied_already() -> None:
    for mode in ("La", "RGBa"):
        straight = drawn(7, 5, {"La": "LA", "RGBa": "RGBA"}[mode])
        image = straight.convert(mode)
        assert image.mode == mode
        assert np.abs(picture_of(image).astype(int) - picture_of(straight).astype(int)).max() <= 2


def test_floats_have_no_scale() -> None:
    with pytest.raises(InvalidRequestError, match="an image of mode F"):
        picture_of(Image.fromarray(np.zeros((2, 2), np.float32)))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_an_image_that_was_opened_from_a_cut_file(format: str) -> None:
    file = io.BytesIO()
    drawn(60, 40).save(file, format)
    try:
        image = Image.open(io.BytesIO(file.getvalue()[:-400]))
    except OSError:
        return  # Pillow has seen it
    with pytest.raises(CorruptMediaError, match="an image"):
        picture_of(image)


def test_broken_exif_does_not_cost_the_picture() -> None:
    image = drawn(6, 4)
    image.info["exif"] = b"Exif\0\0no"
    np.testing.assert_array_equal(picture_of(image), np.asarray(drawn(6, 4)))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (4, 5, 4)])
def test_arrays_are_pictures_too(shape: tuple[int, ...]) -> None:
    array = np.full(shape, 90, np.uint8)
    if len(shape) == 3 and shape[2] == 4:
        array[..., 3] = 255
    assert picture_of(array).tolist() == np.full((4, 5, 3), 90).tolist()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 5, 3), np.float32),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        "picture.png",
        None,
    ],
    ids=str,
)
def test_what_is_no_picture_is_refused(image: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"an image"):
        picture_of(image)


@pytest.mark.parametrize("given", [{}, {"resample": 3}, {"do_normalize": True, "image_mean": [0.2, 0.5, 0.6]}], ids=str)
@pytest.mark.parametrize(("width", "height"), [(50, 70), (300, 120), (64, 64)])
def test_gemma_3n_is_shown_what_its_processor_shows(width: int, height: int, given: dict[str, Any]) -> None:
    pytest.importorskip("torch")
    siglip = pytest.importorskip("transformers.models.siglip.image_processing_pil_siglip")
    published = {"size": {"height": 64, "width": 64}, "resample": 2, "do_normalize": False, "rescale_factor": 1 / 255}
    config = published | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3} | given
    image = drawn(width, height)
    expected = siglip.SiglipImageProcessorPil(**config)(image, return_tensors="np")["pixel_values"]
    preprocessing = Preprocessing.of_gemma3n(config)
    (found,) = (pixels(preprocessing, part) for part in preprocessing.parts(picture_of(image)))
    np.testing.assert_allclose(found, expected[0].transpose(1, 2, 0), atol=1e-6)
    with pytest.raises(InvalidRequestError, match="not trained with crops"):
        preprocessing.parts(picture_of(image), True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 768},
        {"size": {"height": 768, "width": 512}},
        {"size": {"height": 0, "width": 0}},
        {"size": {"shortest_edge": 768}},
        {"rescale_factor": 1 / 127.5},
        {"do_resize": False},
        {"do_rescale": False},
        {"resample": 9},
        {"do_normalize": True, "image_std": [0, 1, 1]},
    ],
    ids=str,
)
def test_what_gemma_3n_was_not_trained_with_is_refused(wrong: dict[str, Any]) -> None:
    assert Preprocessing.of_gemma3n({}) == Preprocessing(768, (0, 0, 0), (1, 1, 1), None)
    with pytest.raises(ModelFileError, match="preprocessor_config: "):
        Preprocessing.of_gemma3n(wrong)


def test_the_filter_is_the_checkpoints_or_the_familys() -> None:
    picture = np.random.default_rng(4).integers(0, 256, (50, 70, 3), np.uint8)
    found = {number: Image.fromarray(picture).resize((32, 32), Image.Resampling(number)) for number in (2, 3)}
    for config, default, expected in (({}, 2, 2), ({}, 3, 3), ({"resample": 3}, 2, 3), ({"resample": 2}, 3, 2)):
        square = Preprocessing.from_hf(config, 32, default).square(picture)
        np.testing.assert_array_equal(square, np.asarray(found[expected]))
    for wrong in (6, -1, True, "bicubic"):
        with pytest.raises(ModelFileError, match="resample is"):
            Preprocessing.from_hf({"resample": wrong}, 32)
