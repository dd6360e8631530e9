"""What is chosen for a budget, by a profile, and where nothing fits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.gemma3n_checkpoints import config, tensors
from bezel.backends.fit import Choice, Wanted, choose
from bezel.catalog.hardware import Machine
from bezel.catalog.memory import sized_footprint
from bezel.catalog.slices import published_slices
from bezel.catalog.variants import Shape, find
from bezel.errors import InvalidRequestError, UnsupportedModelError
from bezel.kernels.interface import Format
from bezel.weights import names
from bezel.weights.checkpoint import LEVELS, Checkpoint
from bezel.weights.memory import predicted, shape_of
from bezel.weights.source import OpenFiles, TensorInfo

GB = 2**30
E4B, E2B = (find(f"gemma-3n-{name}-it").shape for name in ("E4B", "E2B"))


def headers(shape: Shape | None, format: Format = Format.BF16) -> Checkpoint:
    """The true shapes of a checkpoint, without a byte of weights."""
    assert shape is not None
    path = Path("gemma-3n")
    infos = {}
    for tensor in tensors(shape):
        kept = format if len(tensor.shape) == 2 and tensor.shape[-1] % 32 == 0 else Format.BF16
        rows = tensor.nbytes // 2 // tensor.shape[-1]
        nbytes = rows * kept.row_bytes(tensor.shape[-1])
        infos[tensor.name] = TensorInfo(tensor.name, kept, kept.name, tensor.shape, path, 0, nbytes)
    stored = names.from_hugging_face(infos)
    return Checkpoint(path, config(shape), OpenFiles(infos), stored, norms_lack_one=False, folder=path)


def needed(choice: Choice, cache: Format = Format.F16) -> int:
    return predicted(choice.view, LEVELS[choice.level] if choice.level else None, choice.context, cache).total


def mmlu(choice: Choice) -> float:
    """The published score of the size that was chosen."""
    widths = choice.view.config["intermediate_size"]
    return next(s.mmlu for s in published_slices() if [w for w in s.widths if w] == widths)


def test_a_budget_takes_the_best_size_that_fits_and_says_why() -> None:
    choice = choose(headers(E4B), Wanted(fit=int(2.3 * GB)))
    assert needed(choice) <= 2.3 * GB
    assert choice.why is not None and "E2.98B at Q4_0 with" in choice.why and "of 2.30 GB" in choice.why
    better = [s for s in published_slices() if s.mmlu > mmlu(choice)]
    for each in better:
        again = choose(headers(E4B), Wanted(size=each.name, level="maximum_efficiency", context=4096))
        assert needed(again) > 2.3 * GB, each.name


@pytest.mark.parametrize("budget", [1.75, 2.1, 2.6, 3.5, 5.0, 20.0])
def test_what_is_chosen_fits_and_a_longer_context_would_not(budget: float) -> None:
    choice = choose(headers(E4B), Wanted(fit=int(budget * GB)))
    assert needed(choice) <= budget * GB
    longer = replace(choice, context=min(2 * choice.context, 32768))
    assert longer.context == choice.context or needed(longer) > budget * GB
    higher = {"maximum_efficiency": "balanced", "balanced": "performance"}.get(choice.level or "")
    assert higher is None or needed(replace(choice, level=higher, context=4096)) > budget * GB


def test_more_memory_never_chooses_a_worse_size() -> None:
    scores = [mmlu(choose(headers(E4B), Wanted(fit=int(gb * GB)))) for gb in (1.75, 1.9, 2.1, 2.3, 2.5)]
    assert scores == sorted(scores) and scores[0] < scores[-1]
    assert choose(headers(E4B), Wanted(fit=8 * GB)).view.config["intermediate_size"] == [16384] * 35


def test_where_nothing_fits_the_least_is_named() -> None:
    with pytest.raises(InvalidRequestError, match=r"fits in 0\.50 GB; the least is E2B at Q4_0 with 4096 tokens"):
        choose(headers(E4B), Wanted(fit=GB // 2))


def test_what_is_asked_for_is_kept() -> None:
    choice = choose(headers(E4B), Wanted(fit=6 * GB, size="E2B", level="balanced", context=1000))
    assert len(choice.view.config["intermediate_size"]) == 30
    assert (choice.level, choice.context) == ("balanced", 1000)
    plain = choose(headers(E4B), Wanted(size="E2B"))
    assert (plain.level, plain.context, plain.why) == (None, 8192, None)


def test_a_quantised_checkpoint_keeps_its_precision() -> None:
    assert choose(headers(E4B, Format.Q8_0), Wanted(fit=20 * GB)).level is None
    with pytest.raises(InvalidRequestError, match="the least is E2B at the stored precision"):
        choose(headers(E4B, Format.Q8_0), Wanted(fit=2 * GB))


def test_the_edge_profile_is_e2b_at_eight_bits_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(free: float, shape: Shape | None = E4B, **asked: Any) -> Choice:
        monkeypatch.setattr("bezel.backends.fit.probe", lambda: Machine("x", 1, int(free * GB), int(free * GB)))
        return choose(headers(shape), Wanted(profile="edge", **asked))

    assert [chosen(free).level for free in (4, 2.2, 0.5)] == ["balanced", "maximum_efficiency", "maximum_efficiency"]
    assert len(chosen(4).view.config["intermediate_size"]) == 30 and chosen(4).context == 2048
    assert chosen(4, E2B).view.config["intermediate_size"] == [8192] * 30
    assert chosen(9, size="E2.98B", context=512).context == 512
    assert chosen(9, fit=int(2.2 * GB)).level == "maximum_efficiency"


def test_other_families_choose_precision_and_context_alone() -> None:
    with pytest.raises(InvalidRequestError, match="edge"):
        choose(headers(E4B), Wanted(profile="pocket"))
    with pytest.raises(InvalidRequestError, match="1 to 32768"):
        choose(headers(E4B), Wanted(context=40000))
    other = replace(headers(E4B), config={"model_type": "gemma3_text"})
    with pytest.raises(UnsupportedModelError, match="only Gemma 3n"):
        choose(other, Wanted(size="E2B"))


@pytest.mark.parametrize("size", ["E4B", "E2B", "E1.96B", "E2.98B", "E3.59B"])
@pytest.mark.parametrize("level", ["Q4_0", "Q8_0", "BF16"])
def test_the_catalogue_and_the_headers_predict_alike(size: str, level: str) -> None:
    view = choose(headers(E4B), Wanted(size=size)).view
    found = predicted(view, Format[level], 4096)
    paper = sized_footprint(find("gemma-3n-E4B-it"), level, 4096, size)
    assert found.cache == paper.cache and found.workspace == paper.workspace
    assert found.total == pytest.approx(paper.total, rel=0.03)


def test_the_per_layer_table_is_on_disk() -> None:
    found = predicted(headers(E2B), None, 4096)
    assert found.on_disk == 262144 * 30 * 256 * 2
    embeddings = 262400 * 2048
    assert found.weights == pytest.approx(2 * (1.91e9 + embeddings), rel=0.02) and found.total < found.weights + GB // 2
    assert found.rows == 256 * 30 * 256 * 2
    shape = shape_of(headers(E2B))
    assert json.dumps(shape.widths) == json.dumps([8192] * 30) and shape.shared_kv_layers == 10


def test_towers_take_their_part_of_a_budget() -> None:
    without = choose(headers(E4B), Wanted(fit=int(2.6 * GB)))
    beside = choose(headers(E4B), Wanted(fit=int(2.6 * GB), towers=lambda level: GB // 4))
    assert needed(beside) + GB // 4 <= 2.6 * GB and mmlu(beside) < mmlu(without)
    with pytest.raises(InvalidRequestError, match=r"the least is E2B at Q4_0 .* which needs 4\.\d\d GB"):
        choose(
            headers(E4B),
            Wanted(fit=2 * GB, towers=lambda level: {"maximum_efficiency": 5}.get(level or "", 9) * GB // 2),
        )
