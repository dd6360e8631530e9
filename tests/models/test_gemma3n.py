"""What Gemma 3n leaves out changes nothing, and configs and files that contradict themselves are named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bezel.errors import ModelFileError
from bezel.generation.cache import Cache
from bezel.generation.loop import all_logits, generate
from bezel.generation.sampling import Sampling
from bezel.kernels.interface import Access, Format
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.models.gemma3n import Config, Gemma3n
from bezel.models.interface import Batch
from bezel.models.registry import build
from bezel.testing import GEMMA3N, instruction_sets, write_checkpoint
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint

SETS = instruction_sets()
NATIVE = pytest.mark.skipif(not SETS, reason="the compiled kernels are not built")
LEVELS = pytest.mark.parametrize("level", [None, Format.Q8_0, Format.Q4_0])


def model_of(folder: Path, level: Format | None = None, kernels: Any = None, **changes: Any) -> Gemma3n:
    path = write_checkpoint(folder / "m", config=GEMMA3N | changes)
    checkpoint = open_checkpoint(path)
    model = build(checkpoint.config, CheckpointWeights(checkpoint, kernels or Native(2), level), 256)
    checkpoint.close()
    assert isinstance(model, Gemma3n)
    return model


def prompt(length: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(length).integers(0, 289, length)]


@pytest.fixture
def rows_of_layers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[int]]]:
    """How many rows each layer computes, forward pass by forward pass."""
    found: list[list[int]] = []
    from bezel.models import gemma3n

    block, forward = gemma3n.Block.__call__, gemma3n.Gemma3n.forward

    def counted(self: Any, streams: Any, *rest: Any) -> Any:
        found[-1].append(len(streams))
        return block(self, streams, *rest)

    def begun(self: Any, *rest: Any) -> Any:
        found.append([])
        return forward(self, *rest)

    monkeypatch.setattr(gemma3n.Block, "__call__", counted)
    monkeypatch.setattr(gemma3n.Gemma3n, "forward", begun)
    yield found


@NATIVE
@LEVELS
def test_layers_that_share_are_computed_for_rows_with_logits_alone(
    tmp_path: Path, level: Format | None, rows_of_layers: list[list[int]]
) -> None:
    model, tokens = model_of(tmp_path, level), prompt(40)
    whole = all_logits(model, tokens)
    cache = Cache(model.cache_spec, 64, sequences=2)
    for sequence in range(2):
        cache.begin(sequence)
    batch = Batch.of([(tokens, 0, False), (tokens[:7], 0, True)])
    logits = model.forward(batch, cache.view([(0, 0, 40), (1, 0, 7)]))
    assert rows_of_layers == [[40] * 4, [47, 47, 8, 8]]
    np.testing.assert_array_equal(logits[0], whole[39])
    np.testing.assert_array_equal(logits[1:], whole[:7])


@NATIVE
def test_a_chunk_without_logits_ends_where_sharing_begins(tmp_path: Path, rows_of_layers: list[list[int]]) -> None:
    model, tokens = model_of(tmp_path), prompt(40)
    expected = all_logits(model, tokens)[-1]
    cache = Cache(model.cache_spec, 64)
    cache.begin(0)
    first = Batch.of([(tokens[:30], 0, False)])
    inside = Batch(first.ids, first.positions, first.segments, np.zeros(0, np.int32))
    assert model.forward(inside, cache.view([(0, 0, 30)])).shape == (0, model.vocabulary)
    logits = model.forward(Batch.of([(tokens[30:], 30, False)]), cache.view([(0, 30, 10)]))
    assert rows_of_layers[1:] == [[30, 30], [10, 10, 1, 1]]
    np.testing.assert_array_equal(logits[0], expected)


@NATIVE
@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("level", [Format.Q8_0, Format.Q4_0])
def test_skipping_dead_columns_changes_no_token(
    tmp_path: Path, level: Format, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the same weights laid out whole, in which every column is computed."""
    skipping = model_of(tmp_path / "a", level, Native(2, isa))
    monkeypatch.setattr("bezel.kernels.layout.SPARSE_FORMATS", ())
    dense = model_of(tmp_path / "b", level, Native(2, isa))
    assert skipping.layers[0].mlp.up_proj.access is Access.ROWS
    assert dense.layers[0].mlp.up_proj.access is Access.WHOLE
    found, wanted = (list(generate(m, prompt(30), Sampling(temperature=0.0), max_tokens=64)) for m in (skipping, dense))
    assert found == wanted


@NATIVE
def test_the_table_is_read_from_disk_and_outlives_its_checkpoint(tmp_path: Path) -> None:
    model = model_of(tmp_path)
    table = model.embed_tokens_per_layer
    assert (table.rows, table.columns) == (280, 4 * 32)
    tokens = [279, 280, 288, 0]  # the last two rows are not in it, and stand for the first
    before = all_logits(model, tokens)
    assert all(np.isfinite(before).all(axis=1))
    size = table.path.stat().st_size
    with table.path.open("r+b") as file:
        file.truncate(table.offset + 10)
    with pytest.raises(ModelFileError, match="changed"):
        all_logits(model, [5])
    assert size > table.offset


def test_the_text_part_of_a_multimodal_checkpoint_is_the_same_model(tmp_path: Path) -> None:
    text = write_checkpoint(tmp_path / "text", config=GEMMA3N)
    whole = write_checkpoint(tmp_path / "whole", config=GEMMA3N, prefix="model.language_model.")
    config = json.loads((text / "config.json").read_text())
    (whole / "config.json").write_text(json.dumps({"model_type": "gemma3n", "text_config": config}))
    found = []
    for folder in (text, whole):
        checkpoint = open_checkpoint(folder)
        assert not checkpoint.norms_lack_one
        found.append(all_logits(build(checkpoint.config, CheckpointWeights(checkpoint, Reference())), prompt(5)))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layer_types", ["full_attention"]),
        ("intermediate_size", [96, 64]),
        ("intermediate_size", [96, 64, 0, 96]),
        ("intermediate_size", "wide"),
        ("num_kv_shared_layers", 4),
        ("num_kv_shared_layers", 3),
        ("num_kv_shared_layers", -1),
        ("activation_sparsity_pattern", [0.95]),
        ("activation_sparsity_pattern", [1.0, 0.0, 0.0, 0.0]),
        ("altup_num_inputs", 1),
        ("altup_num_inputs", 9),
        ("altup_active_idx", 4),
        ("rope_scaling", {"rope_type": "linear", "factor": 2.0}),
        ("sliding_window", None),
    ],
)
def test_a_wrong_config_names_its_field(name: str, value: object) -> None:
    config = GEMMA3N | {"vocab_size": 289}
    Config.from_hf(config)
    with pytest.raises(ModelFileError, match="rotary" if name == "rope_scaling" else name):
        Config.from_hf(config | {name: value})


def test_the_published_shape_is_the_default() -> None:
    config = Config.from_hf(
        {
            "vocab_size": 262400,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 30,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "num_kv_shared_layers": 10,
            "sliding_window": 512,
        }
    )
    assert config.sparsity == (0.95,) * 10 + (0.0,) * 20
    assert config.first_shared == 20 and config.shared_with[20:25] == (18, 18, 18, 18, 19)
    assert [i for i, slides in enumerate(config.sliding) if not slides] == [4, 9, 14, 19, 24, 29]
