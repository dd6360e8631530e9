"""PaliGemma 1 and 2 against Transformers, random weights: soft tokens, tokens of prompts, logits, greedy answers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bezel
from bezel.backends.native import NativeBackend
from bezel.generation.loop import all_logits, generate
from bezel.generation.sampling import Sampling
from bezel.kernels.interface import Kernels
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.models.interface import SoftSpan
from bezel.models.vision.paligemma import PaliGemmaVision
from bezel.testing import PALIGEMMA, PALIGEMMA2, instruction_sets, write_checkpoint
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint
from bezel.weights.vision import vision_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.skipif(
    not instruction_sets() and not os.environ.get("CI"), reason="the compiled kernels are not built"
)
SIDE, TOKENS = 32, 64  # an image has four times as many soft tokens as the window of PALIGEMMA2
KERNELS: dict[str, Kernels] = {"reference": Reference()} | {isa: Native(2, isa) for isa in instruction_sets()}
PROMPTS = ["detect cat ; dog", "", "answer en what is <loc0100><loc0200> beside <seg007> of the two?", "caption en"]


@pytest.fixture(scope="module", params=[PALIGEMMA, PALIGEMMA2], ids=["1", "2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Transformers saves it, with weights so large that every cap and mask matters."""
    folder = write_checkpoint(tmp_path_factory.mktemp("sees"), config=request.param)
    config = json.loads((folder / "config.json").read_text()) | {"image_token_index": 6, "projection_dim": 64}
    config["vision_config"] |= {"vision_use_head": False}
    torch.manual_seed(5)
    model = transformers.PaliGemmaForConditionalGeneration(transformers.PaliGemmaConfig(**config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def oracle(folder: Path) -> Any:
    return transformers.PaliGemmaForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    from tokenizers import Tokenizer
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    ours = json.loads((folder / "tokenizer.json").read_text())
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    nothing = dict.fromkeys(("truncation", "padding", "pre_tokenizer", "post_processor", "decoder"))
    model = dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")) | ours["model"]
    whole = nothing | {"version": "1.0", "normalizer": ours["normalizer"], "model": model | {"fuse_unk": False}}
    whole["added_tokens"] = [piece | plain for piece in ours["added_tokens"]]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(whole)), bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )
    images = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    images.image_seq_length = TOKENS
    return transformers.PaliGemmaProcessor(images, tokenizer)


@pytest.fixture(scope="module")
def model(folder: Path) -> bezel.Model:
    return bezel.load(str(folder), cache="f32")


def picture(seed: int, width: int = 50, height: int = 40) -> Any:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def asking(text: str, *pictures: Any) -> list[dict[str, Any]]:
    parts = [{"type": "image", "image": image} for image in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def given(processor: Any, text: str, *pictures: Any, suffix: str | None = None) -> Any:
    """What the model takes of one prompt."""
    made = processor(
        images=[list(pictures)], text=["<image>" * len(pictures) + text], suffix=[suffix] if suffix else None
    )
    return {name: torch.tensor(np.array(value)) for name, value in made.items() if name != "labels"}


def laid_out(model: bezel.Model, messages: Sequence[Any]) -> tuple[list[int], list[SoftSpan]]:
    return model._backend._prompt(model.request(messages))


def assert_close(found: np.ndarray, expected: np.ndarray, share: float = 1e-3) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= share * np.ptp(expected)


@pytest.mark.parametrize("kernels", KERNELS.values(), ids=KERNELS)
def test_soft_tokens_are_the_oracles(folder: Path, oracle: Any, processor: Any, kernels: Kernels) -> None:
    view = vision_of(open_checkpoint(folder))
    assert view is not None
    pixels = given(processor, "x", picture(1))["pixel_values"]
    with torch.no_grad():
        expected = oracle.get_image_features(pixels, return_dict=True).pooler_output[0].numpy()
    found = PaliGemmaVision(view.config, CheckpointWeights(view, kernels))
    assert_close(found(np.ascontiguousarray(pixels[0].permute(1, 2, 0).numpy())), expected, 1e-4)


@pytest.mark.parametrize("pictures", [1, 2])
@pytest.mark.parametrize("text", PROMPTS)
def test_prompts_give_the_tokens_and_logits_of_transformers(
    model: bezel.Model, oracle: Any, processor: Any, text: str, pictures: int
) -> None:
    shown = [picture(seed, 50 + 30 * seed) for seed in range(pictures)]
    inputs = given(processor, text, *shown)
    with torch.no_grad():
        expected = oracle(**inputs).logits[0].numpy()
    ids, spans = laid_out(model, asking(text, *shown))
    assert ids == inputs["input_ids"][0].tolist() and [span.length for span in spans] == [len(ids)]
    assert_close(all_logits(model._backend.model, ids, spans), expected)
    causal = [replace(spans[0], prefix=False, causal=True)]
    assert np.abs(all_logits(model._backend.model, ids, causal) - expected).max() > 0.05 * np.ptp(expected)


def test_the_answer_behind_a_prefix_is_causal(model: bezel.Model, oracle: Any, processor: Any) -> None:
    suffix = "<loc0001><loc0002><loc0003><loc0004> cat, and then more words than the window"
    inputs = given(processor, PROMPTS[0], picture(3), suffix=suffix)
    with torch.no_grad():
        expected = oracle(**inputs).logits[0].numpy()
    ids, spans = laid_out(model, asking(PROMPTS[0], picture(3)))
    tokens = inputs["input_ids"][0].tolist()
    assert tokens[: len(ids)] == ids and len(tokens) > len(ids) + 16
    assert_close(all_logits(model._backend.model, tokens, spans), expected)


def test_a_window_does_not_cut_the_prefix(model: bezel.Model, oracle: Any, processor: Any) -> None:
    if model._backend.model.cache_spec.windows == (None,):
        pytest.skip("has no window")
    inputs = given(processor, PROMPTS[0], picture(4))
    with torch.no_grad():
        expected = oracle(**inputs).logits[0].numpy()
    ids, spans = laid_out(model, asking(PROMPTS[0], picture(4)))
    cut = all_logits(model._backend.model, ids, [replace(spans[0], prefix=False)])
    assert np.abs(cut - expected).max() > 0.05 * np.ptp(expected)


@pytest.mark.parametrize("text", PROMPTS)
def test_32_greedy_tokens_agree(model: bezel.Model, oracle: Any, processor: Any, text: str) -> None:
    ids, spans = laid_out(model, asking(text, picture(5)))
    steps = generate(model._backend.model, ids, Sampling(temperature=0.0), max_tokens=32, spans=spans)
    inputs = given(processor, text, picture(5))
    with torch.no_grad():
        expected = oracle.generate(**inputs, max_new_tokens=32, do_sample=False, eos_token_id=-1)
    assert [step.token_id for step in steps] == expected[0, len(ids) :].tolist()


def test_ragged_prompts_answered_together_are_those_of_transformers(
    folder: Path, model: bezel.Model, oracle: Any, processor: Any
) -> None:
    asked = [(text, picture(seed)) for seed, text in enumerate([*PROMPTS, PROMPTS[0]])]
    together = bezel.Model(NativeBackend.load(str(folder), cache="f32")).chat_batch(
        [asking(*each) for each in asked], max_tokens=20
    )
    ends = model.tokenizer.stop_ids
    for (text, image), result in zip(asked, together, strict=True):
        inputs = given(processor, text, image)
        with torch.no_grad():
            expected = oracle.generate(**inputs, max_new_tokens=20, do_sample=False, eos_token_id=sorted(ends))
        tokens = expected[0, inputs["input_ids"].shape[1] :].tolist()
        assert list(result.token_ids) == [token for token in tokens if token not in ends]


def test_a_folder_as_it_is_published_has_the_same_logits(tmp_path: Path, processor: Any) -> None:
    folder = write_checkpoint(tmp_path, config=PALIGEMMA2, prefix="language_model.model.")
    config = json.loads((folder / "config.json").read_text()) | {"image_token_index": 6, "projection_dim": 64}
    config["vision_config"] |= {"vision_use_head": False}
    oracle = transformers.PaliGemmaForConditionalGeneration.from_pretrained(
        folder, config=transformers.PaliGemmaConfig(**config), attn_implementation="eager"
    ).eval()
    inputs = given(processor, PROMPTS[0], picture(7))
    with torch.no_grad():
        expected = oracle(**inputs).logits[0].numpy()
    model = bezel.load(str(folder), cache="f32")
    assert_close(all_logits(model._backend.model, *laid_out(model, asking(PROMPTS[0], picture(7)))), expected)
