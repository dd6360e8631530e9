"""Generated pictures: charts drawn as they say, questions that fit, and splits that share neither looks nor words."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from importlib import resources

import numpy as np
import pytest

from bezel.errors import BezelError
from bezel.training.data.example import Split
from bezel.training.data.pictures import asking, fonts, looks, printed
from bezel.training.data.pictures.charts import Chart, Look, draw, readable, ticks
from bezel.training.data.pictures.seen import Generator


@pytest.fixture(autouse=True)
def built_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fonts of the machine are not what is tested."""
    monkeypatch.setattr(fonts, "for_training", lambda: (fonts.BUILT_IN,))


@pytest.mark.parametrize("horizontal", [False, True])
def test_bars_are_as_long_as_their_values(horizontal: bool) -> None:
    look = Look(palette=("#ff0000", "#00ff00", "#0000ff"), horizontal=horizontal)
    pixels = np.array(draw(Chart("bar", "Title", ("a", "b", "c"), (10, 20, 40), look)).image)
    lengths = []
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        bar = (np.abs(pixels.astype(int) - colour) < 12).all(-1)
        lengths.append(bar.any(0 if horizontal else 1).sum())
    assert lengths[0] / lengths[2] == pytest.approx(0.25, abs=0.01)
    assert lengths[1] / lengths[2] == pytest.approx(0.5, abs=0.01)


def test_slices_are_as_large_as_their_shares() -> None:
    look = Look(palette=("#ff0000", "#00ff00", "#0000ff"))
    pixels = np.array(draw(Chart("pie", "", ("a", "b", "c"), (50, 30, 20), look)).image).astype(int)
    areas = [(np.abs(pixels - c) < 12).all(-1).sum() for c in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    assert np.array(areas) / sum(areas) == pytest.approx([0.5, 0.3, 0.2], abs=0.02)


def test_letters_stand_where_ink_is() -> None:
    drawn = draw(Chart("bar", "HHHH HHHH", ("HH", "HHH"), (3, 7), Look(size=14)))
    assert "".join(glyph.character for glyph in drawn.glyphs).startswith("HHHHHHHH")
    pixels = np.array(drawn.image.convert("L"))
    for glyph in drawn.glyphs:
        x, y = int(glyph.x * 256), int(glyph.y * 256)
        around = pixels[max(0, y - 4) : y + 5, max(0, x - 3) : x + 4]
        assert around.min() < 120, glyph
    shifted = [pixels[int(g.y * 256) + 14 :, int(g.x * 256)][:3].min() for g in drawn.glyphs[:8]]
    assert min(shifted) > 200, "places are of the letters, not of everything"


@pytest.mark.parametrize(("low", "high"), [(0, 7), (0, 1250), (3, 9), (0, 0.4), (97, 103)])
def test_an_axis_has_few_round_marks_that_hold_all_values(low: float, high: float) -> None:
    marks = ticks(low, high)
    assert marks[0] <= low < high <= marks[-1] and 3 <= len(marks) <= 7
    assert np.ptp(np.diff(marks)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("generator", [asking.sample, printed.sample])
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_a_seed_decides_pictures_and_questions(generator: Generator, split: Split) -> None:
    first, second = (generator(random.Random(3), split) for _ in range(2))
    assert first.asked == second.asked and first.drawn.image.tobytes() == second.drawn.image.tobytes()
    assert len({generator(random.Random(seed), split).asked for seed in range(20)}) > 15


def test_training_names_labels_as_people_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "draw", lambda chart: chart)

    def named(split: Split) -> list[bool]:
        """Of every value asked for, whether its label is named as it stands there."""
        rng, found = random.Random(9), []
        for _ in range(200):
            seen = asking.sample(rng, split)
            labels = seen.drawn.labels  # type: ignore[attr-defined]
            asked = [each.question for each in seen.asked if each.task == "value"]
            found += [any(label in question for label in labels) for question in asked]
        return found

    trained, tested = named("train"), named("held_out")
    assert all(tested) and 0.1 < trained.count(False) / len(trained) < 0.4
    ways = {asking._named(random.Random(seed), "Jul") for seed in range(40)}
    assert ways == {"Jul", "July"}
    assert {asking._named(random.Random(seed), "Eggs") for seed in range(40)} == {"Eggs", "eggs", "the eggs"}


def test_legends_are_more_frequent_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "for_training", lambda: ("some.ttf",))
    rng = random.Random(3)
    found = [looks.look(rng, "train", "bar", 4).legend for _ in range(300)]
    assert 0.5 < sum(found) / len(found) < 0.7
    assert not any(looks.look(rng, "train", "line", 4).legend for _ in range(50)), "a line has none"


def test_a_seed_decides_the_same_in_every_process() -> None:
    script = """
import random
from bezel.training.data.pictures import asking, printed
from bezel.training.data.speech import phrases
rng = random.Random(3)
for _ in range(30):
    print(asking.sample(rng, "held_out").asked, printed.sample(rng, "held_out").asked)
    print(phrases.sample(rng, "held_out", "it"))
"""
    said = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True)
        said.append(done.stdout)
    assert said[0] == said[1] and len(said[0].splitlines()) == 60


def test_answers_about_charts_are_on_the_chart() -> None:
    rng, tasks = random.Random(4), set()
    for _ in range(60):
        seen = asking.sample(rng, "train")
        letters = "".join(glyph.character for glyph in seen.drawn.glyphs)
        for asked in seen.asked:
            tasks.add(asked.task)
            assert "{" not in asked.question
            if asked.task in ("highest", "lowest"):
                assert asked.answer.replace(" ", "") in letters
            elif asked.task == "value":
                assert float(asked.answer) > 0
    assert tasks == {"highest", "lowest", "trend", "value"}


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_every_chart_has_a_question(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "draw", lambda chart: chart)
    rng = random.Random(8)
    assert all(asking.sample(rng, split).asked for _ in range(1500))


def test_printed_text_is_what_the_answer_says() -> None:
    rng = random.Random(5)
    for _ in range(40):
        seen = printed.sample(rng, "held_out")
        letters = "".join(glyph.character for glyph in seen.drawn.glyphs)
        assert seen.asked[0].answer.translate(str.maketrans("", "", " \n")) == letters
        assert all(0 < glyph.x < 1 and 0 < glyph.y < 1 for glyph in seen.drawn.glyphs)


def test_splits_share_no_wording_colour_or_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "for_training", lambda: ("some.ttf",))
    found: dict[str, tuple[set[object], set[object]]] = {}
    for split in ("train", "held_out"):
        rng = random.Random(6)
        chosen = [looks.look(rng, split, "bar", 4) for _ in range(400)]
        layouts = {tuple(getattr(look, name) for name in looks.LAYOUTS) for look in chosen if look.face}
        palettes: set[object] = {look.palette[:2] for look in chosen if len(look.palette) > 1}
        found[split] = ({layout for layout in layouts if any(layout)}, palettes)
        assert {look.face for look in chosen} == ({"some.ttf"} if split == "train" else {fonts.BUILT_IN})
    for trained, tested in zip(*found.values(), strict=True):
        assert trained and tested and not trained & tested


def test_the_charts_by_hand_can_be_drawn_and_read() -> None:
    text = resources.files("bezel").joinpath("tiny/charts.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) == 50
    for row in rows:
        chart = Chart(
            row["kind"], row["title"], tuple(row["labels"]), tuple(row["values"]), Look.from_json(row["look"])
        )
        assert readable(chart), row["title"]
        letters = "".join(glyph.character for glyph in draw(chart).glyphs)
        assert re.sub(r"\s", "", row["title"]) in letters
    with pytest.raises(BezelError, match="no 'colour'"):
        Look.from_json({"colour": 1})
