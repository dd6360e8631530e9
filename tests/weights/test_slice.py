"""Slices of Gemma 3n: what is left of config and tensors, and what cannot be cut."""

from __future__ import annotations

import itertools
import json
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bezel.catalog.slices import find_slice, published_slices, widths_of
from bezel.errors import InvalidRequestError, ModelFileError, StorageError, UnsupportedModelError
from bezel.kernels.interface import Format
from bezel.weights.checkpoint import Checkpoint, open_checkpoint
from bezel.weights.slice import Layers, Slice, SlicedSource, sliced
from bezel.weights.slice_files import write_slice
from bezel.weights.source import OpenFiles, TensorInfo

LAYERS, HIDDEN, WIDTH, PER_LAYER, ROWS = 5, 8, 64, 4, 16
CONFIG = {
    "model_type": "gemma3n_text",
    "num_hidden_layers": LAYERS,
    "intermediate_size": WIDTH,
    "layer_types": ["sliding_attention", "full_attention"] * 2 + ["sliding_attention"],
    "activation_sparsity_pattern": [0.95, 0.5, 0.0, 0.0, 0.0],
    "num_kv_shared_layers": 2,
    "hidden_size_per_layer_input": PER_LAYER,
}


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (ROWS, HIDDEN),
        "model.embed_tokens_per_layer.weight": (ROWS, LAYERS * PER_LAYER),
        "model.per_layer_model_projection.weight": (LAYERS * PER_LAYER, HIDDEN),
    }
    for layer in range(LAYERS):
        shapes[f"model.layers.{layer}.input_layernorm.weight"] = (HIDDEN,)
        shapes |= {f"model.layers.{layer}.mlp.{part}_proj.weight": (WIDTH, HIDDEN) for part in ("gate", "up")}
        shapes[f"model.layers.{layer}.mlp.down_proj.weight"] = (HIDDEN, WIDTH)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    library = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "whole"
    path.mkdir()
    towers = {"vision_tower.layers.3.counts": np.arange(5), "audio_tower.scale": np.array(2.5)}
    library.save_file(arrays() | towers, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "tokenizer.json").write_text("{}")
    (path / "pytorch_model.bin").write_bytes(b"whole")
    return path


def rows_of(checkpoint: Checkpoint, name: str, first: int, count: int) -> np.ndarray:
    stored = checkpoint.stored_names[name]
    return checkpoint.source.read_rows(stored, first, count).view(np.float32)


def test_published_widths_are_those_of_the_source() -> None:
    assert [s.name for s in published_slices()][:2] == ["E4B", "E2B"]
    assert find_slice("e2b").widths == (8192,) * 20 + (0,) * 5 + (8192,) * 10
    assert find_slice("E1.91B") == find_slice("E2B") and find_slice("E3.98B") == find_slice("E4B")
    wide = [layer for layer, width in enumerate(find_slice("E2.98B").widths) if width == 16384]
    assert wide == [*range(15, 25), *range(30, 35)]
    for each in published_slices():
        narrow_parameters = each.widths.count(16384) * 2 + each.widths.count(8192)
        assert narrow_parameters * 3 * 2048 * 8192 / 1e9 < each.effective_parameters
    with pytest.raises(InvalidRequestError, match=r"E2\.98B-block"):
        find_slice("E9B")


def test_sizes_are_read_as_people_write_them() -> None:
    assert widths_of("64x2, 0, 32") == (64, 64, 0, 32) == widths_of([64, 64, 0, 32])
    assert widths_of("E2B") == find_slice("E2B").widths
    for bad in ("64x0", "64x2,", "64 x x", "64,E2B", [64, -1], [64, "32"], ""):
        with pytest.raises(InvalidRequestError):
            widths_of(bad)  # type: ignore[arg-type]


@st.composite
def models_and_sizes(draw: st.DrawFn) -> tuple[dict[str, Any], list[int]]:
    count = draw(st.integers(2, 12))
    kinds = draw(st.lists(st.sampled_from(["sliding_attention", "full_attention"]), min_size=count, max_size=count))
    widths = draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    config = {
        "num_hidden_layers": count,
        "intermediate_size": [32 * width for width in widths],
        "layer_types": kinds,
        "activation_sparsity_pattern": [i / 16 for i in range(count)],
        "num_kv_shared_layers": draw(st.integers(0, count)),
        "hidden_size_per_layer_input": 4,
    }
    return config, [32 * draw(st.integers(0, width)) for width in widths]


@given(models_and_sizes())
def test_configs_of_slices_keep_each_layers_own_facts(drawn: tuple[dict[str, Any], list[int]]) -> None:
    config, widths = drawn
    count, shared, kinds = config["num_hidden_layers"], config["num_kv_shared_layers"], config["layer_types"]
    kept = [layer for layer in range(count) if widths[layer]]
    own = {kinds[layer] for layer in kept if layer < count - shared}
    if not kept or {kinds[layer] for layer in kept} != own:
        with pytest.raises(InvalidRequestError, match="keep one"):
            Slice.of(widths, Layers.from_hf(config))
        return
    cut = Slice.of(widths, Layers.from_hf(config))
    found = cut.config(config | {"vocab_size": 3})
    assert found["vocab_size"] == 3 and found["num_hidden_layers"] == len(kept)
    assert found["intermediate_size"] == [widths[layer] for layer in kept]
    assert found["layer_types"] == [kinds[layer] for layer in kept]
    assert found["activation_sparsity_pattern"] == [layer / 16 for layer in kept]
    boundary = len(kept) - found["num_kv_shared_layers"]
    assert [layer >= count - shared for layer in kept] == [i >= boundary for i in range(len(kept))]
    again = Slice.of([*found["intermediate_size"]], Layers.from_hf(found))
    assert again.config(found) == {key: value for key, value in found.items()}
    nested = cut.config({"model_type": "gemma3n", "text_config": config})
    assert nested == {"model_type": "gemma3n", "text_config": cut.config(config)}
    assert config["num_hidden_layers"] == count


@given(models_and_sizes())
def test_spans_are_the_kept_layers_own_rows(drawn: tuple[dict[str, Any], list[int]]) -> None:
    cut = Slice(tuple(drawn[1]))
    rows, columns = cut.spans("embed_tokens_per_layer.weight", 4)
    assert rows is None and columns is not None
    assert [i for span in columns for i in span] == [4 * layer + i for layer in cut.layers for i in range(4)]
    assert all(a.stop < b.start for a, b in itertools.pairwise(columns))
    assert cut.spans("per_layer_model_projection.weight", 4) == (columns, None)


def test_defaults_are_those_of_transformers() -> None:
    pytest.importorskip("transformers")
    from transformers import Gemma3nTextConfig

    for layers in (35, 30, 10):
        theirs = Gemma3nTextConfig(num_hidden_layers=layers, num_kv_shared_layers=5)
        ours = Layers.from_hf({"num_hidden_layers": layers, "num_kv_shared_layers": 5})
        assert list(ours.widths) == theirs.intermediate_size and list(ours.kinds) == theirs.layer_types
        assert list(ours.sparsity) == theirs.activation_sparsity_pattern


def test_the_official_size_is_cut_to_its_own_config() -> None:
    whole = {"num_hidden_layers": 35, "intermediate_size": [16384] * 35, "num_kv_shared_layers": 15}
    cut = Slice.of("E2B", Layers.from_hf(whole)).config(whole)
    official = {"num_hidden_layers": 30, "intermediate_size": 8192, "num_kv_shared_layers": 10}
    assert Layers.from_hf(cut) == Layers.from_hf(official)
    assert Slice.of("E2B", Layers.from_hf(official)).widths == (8192,) * 30
    with pytest.raises(InvalidRequestError, match="cut from E4B"):
        Slice.of("E2.98B", Layers.from_hf(official))


@pytest.mark.parametrize(
    ("size", "message"),
    [("64x4", "5"), ("64x4,65", "layer 4 has an FFN of 64"), ("0x5", "keeps no layer"), ("0,64,0,64,64", "layer 4")],
)
def test_sizes_that_cannot_be_cut_are_refused(folder: Path, size: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        sliced(open_checkpoint(folder), size)


def test_a_view_reads_ranges_of_the_whole(folder: Path) -> None:
    whole, cut = arrays(), sliced(open_checkpoint(folder), "32,64,0,16,64")
    kept = [0, 1, 3, 4]
    for layer, (old, width) in enumerate(zip(kept, (32, 64, 16, 64), strict=True)):
        name = f"layers.{layer}.mlp."
        assert cut.info(name + "gate_proj.weight").shape == (width, HIDDEN)
        np.testing.assert_array_equal(
            rows_of(cut, name + "up_proj.weight", 3, 5), whole[f"model.layers.{old}.mlp.up_proj.weight"][3:8]
        )
        np.testing.assert_array_equal(
            rows_of(cut, name + "down_proj.weight", 1, 4),
            whole[f"model.layers.{old}.mlp.down_proj.weight"][1:5, :width],
        )
        np.testing.assert_array_equal(
            rows_of(cut, f"layers.{layer}.input_layernorm.weight", 0, 1)[0],
            whole[f"model.layers.{old}.input_layernorm.weight"],
        )
    table = whole["model.embed_tokens_per_layer.weight"].reshape(ROWS, LAYERS, PER_LAYER)[:, kept].reshape(ROWS, -1)
    np.testing.assert_array_equal(rows_of(cut, "embed_tokens_per_layer.weight", 2, 3), table[2:5])
    projection = whole["model.per_layer_model_projection.weight"].reshape(LAYERS, PER_LAYER, HIDDEN)[kept]
    for first, count in ((0, 16), (6, 4), (9, 1), (3, 0)):
        np.testing.assert_array_equal(
            rows_of(cut, "per_layer_model_projection.weight", first, count),
            projection.reshape(-1, HIDDEN)[first : first + count],
        )
    with pytest.raises(IndexError):
        rows_of(cut, "layers.0.mlp.gate_proj.weight", 30, 3)
    assert "layers.4.input_layernorm.weight" not in cut.stored_names


def test_the_whole_size_is_the_checkpoint_itself(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    assert sliced(checkpoint, "64x5") is checkpoint


def test_a_written_slice_reads_as_the_view_does(folder: Path, tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    told: list[tuple[int, int]] = []
    view = sliced(open_checkpoint(folder), "32,64,0,16,64")
    write_slice(
        open_checkpoint(folder), tmp_path / "cut", "32,64,0,16,64", lambda *done: told.append(done), shard_bytes=4000
    )
    written = open_checkpoint(tmp_path / "cut")
    assert len(list((tmp_path / "cut").glob("model-*-of-*.safetensors"))) > 1
    assert written.config == view.config and set(written.stored_names) == set(view.stored_names)
    for name in view.stored_names:
        info = view.info(name)
        assert info.shape == written.info(name).shape
        count = 1 if len(info.shape) == 1 else info.shape[0]
        np.testing.assert_array_equal(rows_of(view, name, 0, count), rows_of(written, name, 0, count))
    towers: dict[str, np.ndarray] = {}
    for shard in (tmp_path / "cut").glob("*.safetensors"):
        towers |= library.load_file(shard)
    assert towers["vision_tower.layers.3.counts"].tolist() == [0, 1, 2, 3, 4] and towers["audio_tower.scale"] == 2.5
    assert (tmp_path / "cut" / "tokenizer.json").exists() and not (tmp_path / "cut" / "pytorch_model.bin").exists()
    assert told[-1][0] == told[-1][1] and sorted(told) == told


def test_an_existing_target_stays_and_a_failed_one_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(StorageError, match="exists already"):
        write_slice(open_checkpoint(folder), tmp_path / "there", "32x5")
    with pytest.raises(StorageError, match="create the folder"):
        write_slice(open_checkpoint(folder), tmp_path / "none" / "cut", "32x5")
    with pytest.raises(InvalidRequestError, match="quantize --size"):
        write_slice(open_checkpoint(folder), tmp_path / "cut.gguf", "32x5")
    monkeypatch.setattr("bezel.weights.storage.os.write", _full)
    with pytest.raises(StorageError, match="free space"):
        write_slice(open_checkpoint(folder), tmp_path / "cut", "32x5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there", "whole"]


def _full(handle: int, data: memoryview) -> int:
    raise OSError(28, "No space left on device")


def test_configs_and_tensors_that_contradict_are_named(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for name, value in (
        ("intermediate_size", [64, 64]),
        ("layer_types", "x"),
        ("num_kv_shared_layers", 9),
        ("num_hidden_layers", 1 << 60),
    ):
        (folder / "config.json").write_text(json.dumps(config | {name: value}))
        with pytest.raises(ModelFileError, match=name):
            sliced(open_checkpoint(folder), "32x5")
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 96}))
    with pytest.raises(ModelFileError, match=r"_proj\.weight has shape .*64.* promises 96"):
        sliced(open_checkpoint(folder), "32x5")
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "gemma3_text"}))
    with pytest.raises(UnsupportedModelError, match="only Gemma 3n"):
        sliced(open_checkpoint(folder), "32x5")


class Quantised(OpenFiles):
    """Headers alone of a GGUF in Q4_0, as llama.cpp names its tensors."""

    def __init__(self) -> None:
        infos = {}
        for name, shape in {
            "per_layer_token_embd.weight": (ROWS, LAYERS * 32),
            **{f"blk.{layer}.ffn_down.weight": (32, WIDTH) for layer in range(LAYERS)},
            **{f"blk.{layer}.unheard_of.weight": (32, 32) for layer in range(LAYERS)},
        }.items():
            nbytes = shape[0] * Format.Q4_0.row_bytes(shape[1])
            infos[name] = TensorInfo(name, Format.Q4_0, "Q4_0", shape, Path("m.gguf"), 0, nbytes)
        super().__init__(infos)


def quantised() -> Checkpoint:
    config = CONFIG | {"hidden_size_per_layer_input": 32}
    metadata = {
        "general.architecture": "gemma3n",
        "general.size_label": "E4B",
        "gemma3n.block_count": LAYERS,
        "gemma3n.feed_forward_length": array("I", [WIDTH] * LAYERS),
        "gemma3n.activation_sparsity_scale": array("f", [1.5, 1.25, 0, 0, 0]),
        "gemma3n.attention.shared_kv_layers": 2,
        "gemma3n.attention.sliding_window_pattern": [True, False, True, False, True],
        "tokenizer.ggml.scores": array("f", [0.0] * LAYERS),
    }
    stored = {f"layers.{layer}.mlp.down_proj.weight": f"blk.{layer}.ffn_down.weight" for layer in range(LAYERS)}
    stored["embed_tokens_per_layer.weight"] = "per_layer_token_embd.weight"
    return Checkpoint(Path("m.gguf"), config, Quantised(), stored, norms_lack_one=False, metadata=metadata)


def test_quantised_columns_are_cut_between_blocks_alone() -> None:
    cut = sliced(quantised(), "32,64,0,64,64")
    assert cut.info("layers.0.mlp.down_proj.weight").nbytes == 32 * Format.Q4_0.row_bytes(32)
    assert cut.info("embed_tokens_per_layer.weight").shape == (ROWS, 4 * 32)
    with pytest.raises(InvalidRequestError, match=r"blk\.1\.ffn_down.*blocks of 32; column 48"):
        sliced(quantised(), "32,48,0,64,64")


def test_gguf_metadata_follow() -> None:
    cut = sliced(quantised(), "32,64,0,64,64")
    assert "general.size_label" not in cut.metadata
    assert len(cut.metadata["tokenizer.ggml.scores"]) == LAYERS
    found = {key.removeprefix("gemma3n."): value for key, value in cut.metadata.items() if key.startswith("gemma3n")}
    assert found.pop("activation_sparsity_scale") == array("f", [1.5, 1.25, 0, 0])
    assert found == {
        "block_count": 4,
        "feed_forward_length": [32, 64, 64, 64],
        "attention.shared_kv_layers": 2,
        "attention.sliding_window_pattern": [True, False, False, True],
    }
    assert isinstance(cut.source, SlicedSource)
    assert [n for n in cut.source.tensors if "unheard" in n] == [f"blk.{i}.unheard_of.weight" for i in range(4)]
    assert sliced(quantised(), "32x5").metadata["gemma3n.feed_forward_length"] == 32
