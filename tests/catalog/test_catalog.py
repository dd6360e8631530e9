"""The catalogue's arithmetic against published sizes, and the advisor against its own promises."""

import pytest

from bezel.catalog.advisor import TOWERS, advise, candidates, least_memory
from bezel.catalog.hardware import probe
from bezel.catalog.memory import LEVEL_BITS, footprint
from bezel.catalog.needs import NEEDS
from bezel.catalog.variants import catalogue, find, nearest
from bezel.errors import InvalidRequestError, UnknownModelError

GB = 2**30


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("gemma-2b-it", 2.506),
        ("gemma-7b-it", 8.538),
        ("gemma-2-2b-it", 2.614),
        ("gemma-2-9b-it", 9.242),
        ("gemma-2-27b-it", 27.227),
        ("gemma-3-270m-it", 0.268),
        ("gemma-3-1b-it", 1.000),
        ("gemma-3-4b-it", 4.300),
        ("gemma-3-12b-it", 12.187),
        ("gemma-3-27b-it", 27.432),
        ("gemma-3n-E2B-it", 5.44),
        ("gemma-3n-E4B-it", 7.85),
        ("paligemma-3b-mix-224", 2.923),
    ],
)
def test_the_arithmetic_gives_the_published_parameter_counts(name: str, billions: float) -> None:
    assert find(name).parameters / 1e9 == pytest.approx(billions, rel=0.005)


def test_sliding_layers_stop_at_their_window() -> None:
    shape = find("gemma-3-1b-it").shape
    assert shape is not None
    full = 26 // 6
    assert shape.cache_elements(8192) == 2 * 256 * (full * 8192 + (26 - full) * 512)
    assert shape.cache_elements(100) == 2 * 256 * 26 * 100


def test_mobile_variants_keep_the_promise_on_paper() -> None:
    assert footprint(find("gemma-3n-E2B-it"), "Q4_0", towers=()).total < 2e9
    assert footprint(find("gemma-3n-E4B-it"), "Q4_0", towers=()).total < 3e9


def test_ids_are_unique_and_needs_are_known() -> None:
    ids = [variant.id for variant in catalogue()]
    assert len(ids) == len(set(ids)) > 60
    assert {need for variant in catalogue() for need in variant.needs} == set(NEEDS)


@pytest.mark.parametrize("need", NEEDS)
@pytest.mark.parametrize("memory", [0.2, 1, 2.5, 4, 9, 17, 33, 80])
def test_advice_fits_and_nothing_better_would(need: str, memory: float) -> None:
    found = advise(memory * GB, need)
    assert [a.variant for a in found] == [
        v for v in candidates(need) if footprint(v, "Q4_0", found_context(v), towers_for(need)).total <= memory * GB
    ]
    for each in found:
        assert each.footprint.total <= memory * GB
        higher = [level for level, bits in LEVEL_BITS.items() if bits > LEVEL_BITS[each.level]]
        for level in higher:
            assert footprint(each.variant, level, each.context, towers_for(need)).total > memory * GB
    if not found:
        assert least_memory(need).footprint.total > memory * GB


def found_context(variant: object) -> int:
    return min(4096, variant.context)  # type: ignore[attr-defined]


def towers_for(need: str) -> tuple[str, ...]:
    return TOWERS.get(need, ())


def test_the_smallest_comes_first_when_asked_for() -> None:
    assert advise(64 * GB, "text", prefer="small")[0].variant.name == "gemma-3-270m-it"
    assert [advise(gb * GB, "audio")[0].variant.name[-6:] for gb in (3, 3.2)] == ["E2B-it", "E4B-it"]
    assert all(a.variant.context >= 60_000 for a in advise(64 * GB, "text", context=60_000))


@pytest.mark.parametrize(
    "bad",
    [
        dict(memory=0),
        dict(memory=float("nan")),
        dict(memory=1, need="smell"),
        dict(memory=1, context=-1),
        dict(memory=1, prefer="fast"),
    ],
)
def test_bad_questions_are_refused(bad: dict) -> None:
    with pytest.raises(InvalidRequestError):
        advise(**bad)


def test_context_beyond_every_variant_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="2048"):
        least_memory("embedding", context=5000)
    with pytest.raises(InvalidRequestError, match="32768"):
        footprint(find("gemma-3-1b-it"), "Q4_0", 40_000)


@pytest.mark.parametrize(
    ("asked", "real"),
    [
        ("Gemma 3 1B it", "google/gemma-3-1b-it"),
        ("google/gemma-3-4b-pt", "google/gemma-3-4b-it"),
        ("GEMMA-3N-E2B-IT", "google/gemma-3n-E2B-it"),
        ("google/gemma-3-4b-it-qat-q4_0-gguf", "google/gemma-3-4b-it"),
    ],
)
def test_names_are_found_however_they_are_written(asked: str, real: str) -> None:
    assert find(asked).id == real


@pytest.mark.parametrize(
    ("never", "near"),
    [
        ("gemma-1.5-7b-it", "google/gemma-1.1-7b-it"),
        ("Gemma-VL-3b-mix-224", "google/paligemma-3b-mix-224"),
        ("gemma-3-3b-it", "google/gemma-3-1b-it"),
    ],
)
def test_names_never_released_lead_to_real_ones(never: str, near: str) -> None:
    assert near in nearest(never)
    with pytest.raises(UnknownModelError, match="nearest"):
        find(never)


def test_the_machine_has_memory_and_threads() -> None:
    machine = probe()
    assert 0 < machine.available <= machine.memory
    assert machine.threads >= 1 and machine.processor
