"""ShieldGemma 2 against Transformers, random weights: its prompts and the probabilities of every policy."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bezel
from bezel.safety.images import ImageClassifier
from bezel.safety.policies import policies
from bezel.testing import GEMMA3_VISION, instruction_sets, write_checkpoint

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.skipif(
    not instruction_sets() and not os.environ.get("CI"), reason="the compiled kernels are not built"
)
# Like the published one it goes through a list of parts, each in a turn's beginning of its own.
TEMPLATE = (
    "{{ bos_token }}{%- for message in messages -%}{%- for item in message['content'] -%}"
    "{{ '<start_of_turn>user\n' }}{%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}"
    "{%- elif item['type'] == 'text' -%}{{ 'Policy:\n' }}\n   {{ item['text'] + '\nDoes it?<end_of_turn>\n' }}"
    "{%- endif -%}{%- endfor -%}{{ '<start_of_turn>model\n' }}{%- endfor -%}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As Transformers saves it, with Yes and No in the vocabulary and the template where a processor has it."""
    text = GEMMA3_VISION["text_config"] | {"max_position_embeddings": 1024}
    config = GEMMA3_VISION | {"model_type": "shieldgemma2", "text_config": text}
    folder = write_checkpoint(tmp_path_factory.mktemp("judges"), vocabulary=310, config=config)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    pieces = list(tokenizer["model"]["vocab"])
    pieces[-6:] = ["Y", "N", "Ye", "s", "Yes", "No"] if "s" not in pieces else ["Y", "N", "Ye", "<u>", "Yes", "No"]
    tokenizer["model"] |= {"vocab": {piece: i for i, piece in enumerate(pieces)}, "merges": ["Y e", "Ye s", "N o"]}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    written = json.loads((folder / "config.json").read_text())
    written["vision_config"] |= {"vision_use_head": False}
    answers = {"yes_token_index": pieces.index("Yes"), "no_token_index": pieces.index("No")}
    places = {"image_token_index": 8, "boi_token_index": 6, "eoi_token_index": 7}
    torch.manual_seed(6)
    model = transformers.ShieldGemma2ForImageClassification(
        transformers.ShieldGemma2Config(**written | answers | places)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    model.save_pretrained(folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return folder


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    from tokenizers import Tokenizer
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

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
    images = Gemma3ImageProcessorPil(size={"height": 32, "width": 32})
    return transformers.ShieldGemma2Processor(images, tokenizer, chat_template=TEMPLATE, image_seq_length=16)


@pytest.mark.parametrize("size", [(50, 40), (600, 200)])
def test_prompts_and_probabilities_are_those_of_transformers(
    folder: Path, processor: Any, size: tuple[int, int]
) -> None:
    picture = Image.fromarray(np.random.default_rng(2).integers(0, 256, (size[1], size[0], 3), np.uint8))
    oracle = transformers.ShieldGemma2ForImageClassification.from_pretrained(folder, attn_implementation="eager").eval()
    model = bezel.load(str(folder), cache="f32")
    found = ImageClassifier(model).check(picture).probabilities
    assert list(found) == list(processor.policy_definitions)
    for key, policy in policies("image").items():
        assert policy.of_images == processor.policy_definitions[key]
        given = processor(images=[picture], policies=[key], return_tensors="pt")
        parts = [{"type": "image", "image": picture}, {"type": "text", "text": policy.of_images}]
        messages = [{"role": "user", "content": parts}]
        assert model._backend._prompt(model.request(messages, pan_and_scan=False))[0] == given["input_ids"][0].tolist()
        with torch.no_grad():
            expected = oracle(**{name: value for name, value in given.items() if name != "num_crops"})
        assert found[key] == pytest.approx(float(expected.probabilities[0, 0]), abs=1e-3)
    assert len({round(probability, 4) for probability in found.values()}) == 3
