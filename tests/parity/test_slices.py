"""Slices that bezel writes, in Transformers: they load, and equal a model cut by hand from the same weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bezel.generation.loop import all_logits
from bezel.kernels.interface import Format, Kernels
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.models.registry import build
from bezel.testing import instruction_sets
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint
from bezel.weights.slice import sliced
from bezel.weights.slice_files import write_slice

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

KINDS = ["sliding_attention", "sliding_attention", "full_attention"] * 3
WIDTH, PER_LAYER, SHARED = 128, 16, 4
SHAPE: dict[str, Any] = {
    "vocab_size": 96,
    "vocab_size_per_layer_input": 80,
    "hidden_size": 64,
    "intermediate_size": WIDTH,
    "num_hidden_layers": len(KINDS),
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_size_per_layer_input": PER_LAYER,
    "laurel_rank": 8,
    "sliding_window": 8,
    "layer_types": KINDS,
    "num_kv_shared_layers": SHARED,
    "activation_sparsity_pattern": [0.9, 0.8, 0.7] + [0.0] * 6,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "tie_word_embeddings": True,
    "attn_implementation": "eager",
}
# Unequal widths; layers left out among those that own keys and values and among those that share them.
WIDTHS = [64, 128, 32, 0, 96, 128, 0, 128, 64]
KEPT = [layer for layer, width in enumerate(WIDTHS) if width]
PROMPT = torch.tensor([[2, 5, 40, 17, 9, 79, 3, 3, 61, 22, 8, 13, 70, 54, 31, 6, 2, 11, 45, 68]])


def randomise(model: Any) -> Any:
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model.eval()


def cut_by_hand(text: Any) -> dict[str, Any]:
    """The tensors of a sliced text model, from those of the whole `Gemma3nTextModel`."""
    cut = {}
    for name, tensor in text.state_dict().items():
        if name.startswith("layers."):
            _, number, rest = name.split(".", 2)
            width = WIDTHS[int(number)]
            if width:
                if rest in ("mlp.gate_proj.weight", "mlp.up_proj.weight"):
                    tensor = tensor[:width]
                elif rest == "mlp.down_proj.weight":
                    tensor = tensor[:, :width]
                cut[f"layers.{KEPT.index(int(number))}.{rest}"] = tensor
        elif name == "embed_tokens_per_layer.weight":
            cut[name] = tensor.reshape(len(tensor), len(KINDS), PER_LAYER)[:, KEPT].flatten(1)
        elif name == "per_layer_model_projection.weight":
            cut[name] = tensor.reshape(len(KINDS), PER_LAYER, -1)[KEPT].flatten(0, 1)
        else:
            cut[name] = tensor
    return cut


def sliced_config() -> dict[str, Any]:
    return SHAPE | {
        "num_hidden_layers": len(KEPT),
        "intermediate_size": [WIDTHS[layer] for layer in KEPT],
        "layer_types": [KINDS[layer] for layer in KEPT],
        "activation_sparsity_pattern": [SHAPE["activation_sparsity_pattern"][layer] for layer in KEPT],
        "num_kv_shared_layers": 3,
    }


def logits(model: Any) -> Any:
    with torch.no_grad():
        return model(PROMPT).logits


def expected(whole_text: Any) -> Any:
    model = transformers.Gemma3nForCausalLM(transformers.Gemma3nTextConfig(**sliced_config())).eval()
    model.model.load_state_dict(cut_by_hand(whole_text))
    return logits(model)


def write(whole: Path, target: Path) -> None:
    checkpoint = open_checkpoint(whole)
    try:
        write_slice(checkpoint, target, WIDTHS)
    finally:
        checkpoint.close()


def loaded(kind: Any, folder: Path) -> Any:
    model, report = kind.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
    return model.eval()


def test_a_slice_of_a_text_checkpoint_is_the_model_cut_by_hand(tmp_path: Path) -> None:
    whole = randomise(transformers.Gemma3nForCausalLM(transformers.Gemma3nTextConfig(**SHAPE)))
    whole.save_pretrained(tmp_path / "whole")
    write(tmp_path / "whole", tmp_path / "cut")
    found = logits(loaded(transformers.Gemma3nForCausalLM, tmp_path / "cut"))
    torch.testing.assert_close(found, expected(whole.model), rtol=0, atol=0)
    assert (found - logits(whole)).abs().max() > 1


@pytest.mark.parametrize(
    "kernels", [Reference(), *(Native(2, isa) for isa in instruction_sets())], ids=lambda k: k.name
)
def test_a_slice_that_bezel_cuts_at_load_answers_as_transformers_does(tmp_path: Path, kernels: Kernels) -> None:
    whole = randomise(transformers.Gemma3nForCausalLM(transformers.Gemma3nTextConfig(**SHAPE)))
    whole.save_pretrained(tmp_path / "whole")
    view = sliced(open_checkpoint(tmp_path / "whole"), WIDTHS)
    model = build(view.config, CheckpointWeights(view, kernels))
    model.cache_spec = replace(model.cache_spec, format=Format.F32)
    found, theirs = all_logits(model, PROMPT[0].tolist()), expected(whole.model)[0].numpy()
    assert np.abs(found - theirs).max() <= 1e-3 * (theirs.max() - theirs.min())
    view.close()


class Tower(torch.nn.Module):
    """Stands in for a tower, whose weights a slice must leave alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4) for _ in range(9)])


def test_a_slice_of_a_multimodal_checkpoint_keeps_its_towers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modeling = transformers.models.gemma3n.modeling_gemma3n
    build = modeling.AutoModel.from_config

    def with_small_towers(config: Any) -> Any:
        return build(config) if config.model_type == "gemma3n_text" else Tower()

    monkeypatch.setattr(modeling.AutoModel, "from_config", with_small_towers)
    text = transformers.Gemma3nTextConfig(**SHAPE)
    config = transformers.Gemma3nConfig(
        text_config=text,
        vision_config={"hidden_size": 16, "vocab_offset": 80, "vocab_size": 8},
        audio_config={"hidden_size": 16, "vocab_offset": 88, "vocab_size": 8},
    )
    whole = randomise(transformers.Gemma3nForConditionalGeneration(config))
    whole.save_pretrained(tmp_path / "whole")
    write(tmp_path / "whole", tmp_path / "cut")
    cut = loaded(transformers.Gemma3nForConditionalGeneration, tmp_path / "cut")
    torch.testing.assert_close(logits(cut), expected(whole.model.language_model), rtol=0, atol=0)
    for part in ("vision_tower", "audio_tower", "embed_vision", "embed_audio"):
        theirs, ours = (getattr(model.model, part).state_dict() for model in (whole, cut))
        assert theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name]) for name in theirs)
