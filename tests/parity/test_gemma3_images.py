"""From messages and pictures to logits: a folder that Transformers loads too, each side with its own processor."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bezel
from bezel.generation.loop import all_logits
from bezel.testing import GEMMA3_VISION, instruction_sets, write_checkpoint

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.skipif(
    not instruction_sets() and not os.environ.get("CI"), reason="the compiled kernels are not built"
)
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + m.role + '\n' }}{% for p in m.content %}"
    "{% if p.type == 'image' %}<start_of_image>{% else %}{{ p.text | trim }}{% endif %}{% endfor %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{{ '<start_of_turn>model\n' }}"
)
CROPS = {"min_crop_size": 256, "max_num_crops": 4, "min_ratio_to_activate": 1.2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("sees"), config=GEMMA3_VISION, prefix="language_model.model.")


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    from tokenizers import Tokenizer

    ours = json.loads((folder / "tokenizer.json").read_text())
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    nothing = dict.fromkeys(("truncation", "padding", "pre_tokenizer", "post_processor", "decoder"))
    model = dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")) | ours["model"]
    whole = nothing | {"version": "1.0", "normalizer": ours["normalizer"], "model": model | {"fuse_unk": False}}
    whole["added_tokens"] = [piece | plain for piece in ours["added_tokens"]]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(whole)),
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        extra_special_tokens={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
    )
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    images = Gemma3ImageProcessorPil(size={"height": 32, "width": 32})
    return transformers.Gemma3Processor(images, tokenizer, chat_template=TEMPLATE, image_seq_length=16)


def picture(seed: int, width: int, height: int) -> Any:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("crops", [False, True])
def test_messages_with_pictures_give_the_tokens_and_logits_of_transformers(
    folder: Path, processor: Any, crops: bool
) -> None:
    parts = [" look at ", picture(1, 50, 70), "and", picture(2, 900, 300), picture(3, 64, 64), " what now? "]
    content = [{"type": "text", "text": p} if isinstance(p, str) else {"type": "image", "image": p} for p in parts]
    messages = [{"role": "user", "content": content}]
    asked = {"do_pan_and_scan": crops} | {f"pan_and_scan_{name}": value for name, value in CROPS.items()}
    given = processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt", processor_kwargs=asked
    )
    config = json.loads((folder / "config.json").read_text()) | {
        "image_token_index": processor.tokenizer.image_token_id
    }
    oracle = transformers.Gemma3ForConditionalGeneration.from_pretrained(
        folder, config=transformers.Gemma3Config(**config), attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        expected = oracle(**{name: value for name, value in given.items() if name != "num_crops"}).logits[0].numpy()
    model = bezel.load(str(folder), cache="f32")
    ids, spans = model._backend._prompt(model.request(messages, pan_and_scan=crops))
    assert ids == given["input_ids"][0].tolist() and len(spans) == (6 if crops else 3)
    found = all_logits(model._backend.model, ids, spans)
    assert np.abs(found - expected).max() <= 1e-3 * np.ptp(expected)
    answer = model.chat(messages, pan_and_scan=crops, max_tokens=1, temperature=0.0)
    assert answer.token_ids == (int(expected[-1].argmax()),)
