"""Random charts, and questions about them: highest, lowest, trend and value, in many wordings."""

from __future__ import annotations

import calendar
import random
from dataclasses import replace

from bezel.training.data.example import Split, choose
from bezel.training.data.pictures import looks, topics
from bezel.training.data.pictures.charts import Chart, Kind, draw, readable, written
from bezel.training.data.pictures.seen import Asked, Seen, Task
from bezel.training.data.pictures.topics import Topic

_MOST = (
    "highest",
    "largest",
    "biggest",
    "greatest",
    "tallest",
    "longest",
    "best",
    "dearest",
    "most common",
    "heaviest",
)
_LEAST = (
    *("lowest", "smallest", "shortest", "least", "cheapest", "worst", "least common", "rarest", "lightest", "weakest"),
)


def _superlatives(words: tuple[str, ...], amount: tuple[str, ...], verbs: tuple[str, ...]) -> tuple[str, ...]:
    plain = tuple(
        form.format(word=word, one="{one}", counted="{counted}")
        for word in words
        for form in (
            "Which {one} is the {word}?",
            "Which {one} is {word}?",
            "What is the {word} {one}?",
            "Which one is the {word}?",
            "Where is it {word}?",
            "Which {one} has the {word} {counted}?",
            "Which {one} has the {word} value?",
            "What has the {word} value?",
            "When was it {word}?",
            "Name the {word} {one}.",
            "Where are {counted} {word}?",
            "In which {one} was the {counted} {word}?",
            "What is the {word}?",
            "Who has the {word} {counted}?",
        )
    )
    much = tuple(
        form.format(word=word, one="{one}", counted="{counted}")
        for word in amount
        for form in (
            "Which {one} has the {word} {counted}?",
            "Who has the {word} {counted}?",
            "Where are the {word} {counted}?",
            "On which {one} were there the {word} {counted}?",
            "In which {one} were the {word} {counted}?",
            "Which {one} gets the {word}?",
            "What is there the {word} of?",
            "Where does the {word} go?",
            "Which {one} gave the {word} {counted}?",
        )
    )
    return plain + much + verbs


HIGHEST = _superlatives(
    _MOST,
    ("most",),
    (
        "Who did the most?",
        "What do people like most?",
        "What takes the most?",
        "Which {one} comes first?",
        "What is the peak?",
        "What is the largest part?",
        "What makes up most of it?",
        "What is liked best?",
        "How do most people do it?",
        "Which {one} leads?",
        "What is used the most?",
        "What was chosen most often?",
        "Which {one} is in the lead?",
        "Who is in the lead?",
        "Which {one} is leading?",
        "Who leads?",
        "Which {one} took the lead?",
        "Which {one} has the lead?",
        "Which one leads all others?",
        "Which {one} is ahead of all others?",
        "Which {one} is in front?",
        "Which {one} is first?",
        "What comes first?",
        "Who comes first?",
        "Which {one} is on top?",
        "Which {one} is at the top?",
        "Which {one} wins?",
    ),
)
LOWEST = _superlatives(
    _LEAST,
    ("fewest", "least"),
    (
        "Who did the least?",
        "What do people like least?",
        "What takes the least?",
        "Which {one} comes last?",
        "Where is the low point?",
        "What is the smallest part?",
        "What makes up the least of it?",
        "What is liked least?",
        "Which {one} is behind all others?",
        "What is used the least?",
        "What was chosen least often?",
        "And the least?",
        "Which {one} is last?",
        "What is last?",
        "Who is last?",
        "Who comes last?",
        "Which {one} comes in last?",
        "Which {one} comes last in {counted}?",
        "Which {one} is last in {counted}?",
        "Which one comes last of all?",
        "Which {one} is in last place?",
        "Which {one} is at the bottom?",
        "Which {one} is at the end?",
        "Which {one} loses?",
    ),
)
VALUE = tuple(
    form + end
    for form in (
        "What is the value for {label}",
        "What is the value of {label}",
        "How many {counted} does {label} have",
        "How many {counted} in {label}",
        "How many {counted} for {label}",
        "How much is {label}",
        "How much {counted} does {label} get",
        "How many did {label} get",
        "What does {label} show",
        "What is it for {label}",
        "What was it in {label}",
        "What was the {counted} in {label}",
        "How many were there in {label}",
        "How many {counted} on {label}",
        "Give the value for {label}",
        "And {label}",
        "What number belongs to {label}",
        "How high is {label}",
        "What does {label} cost",
        "What is the number for {label}",
        "Tell me the {counted} of {label}",
    )
    for end in ("?", "", " please?")
)
SHARE = tuple(
    form + end
    for form in (
        "What share is {label}",
        "What percentage is {label}",
        "What part is {label}",
        "How much of it is {label}",
        "What share goes to {label}",
        "How many percent are {label}",
        "Give the share of {label}",
        "What is the value for {label}",
        "How big is the part of {label}",
    )
    for end in ("?", "", " please?")
)
TREND = (
    "What is the trend?",
    "Is it rising or falling?",
    "Is the {counted} rising or falling?",
    "Is it going up or down?",
    "Is the {counted} going up or down?",
    "How does the {counted} develop?",
    "How do the {counted} develop?",
    "How has the {counted} developed?",
    "Does the {counted} change much?",
    "What is the trend of the {counted}?",
    "Has the {counted} gone up, down or neither?",
    "What is happening to the {counted}?",
    "Are there more or fewer {counted} over time?",
    "Is it getting more or less?",
    "How does it change over time?",
    "Is there a trend?",
    "Do {counted} go up or down?",
    "What happens over time?",
    "Does the line rise or fall?",
    "In which direction do the {counted} go?",
)
VALUES_ASKED: dict[Split, int] = {"train": 5, "held_out": 3}
"""Of one chart at most."""
_WORDINGS: dict[Task, tuple[str, ...]] = {"highest": HIGHEST, "lowest": LOWEST, "trend": TREND, "value": VALUE}

_IN_FULL = {name[:3]: name for name in (*calendar.month_name, *calendar.day_name) if name}


def sample(rng: random.Random, split: Split) -> Seen:
    """A chart with questions of each kind that it has an answer to."""
    kind: Kind = rng.choice(("bar", "bar", "line", "pie"))
    while True:
        chart, topic, trend = _chart(rng, split, kind)
        if readable(chart):
            return Seen(draw(chart), tuple(_asked(rng, split, chart, topic, trend)))


def _chart(rng: random.Random, split: Split, kind: Kind) -> tuple[Chart, Topic, str | None]:
    trend = rng.choice(("rising", "falling", "steady", None)) if kind == "line" else None
    count = rng.randint(3, 5) if kind == "pie" else rng.randint(4, 7) if kind == "line" else rng.randint(3, 6)
    ordered = kind == "line" or (kind == "bar" and rng.random() < 0.15)
    topic = topics.times(rng, count) if ordered else topics.categories(rng, split, count)
    count = len(topic.labels)
    values = _shares(rng, count) if kind == "pie" else _series(rng, count, trend)
    chosen = replace(looks.look(rng, split, kind, count), zero=trend == "steady" or rng.random() < 0.75)
    return Chart(kind, topic.title if rng.random() < 0.93 else "", topic.labels, values, chosen), topic, trend


def _shares(rng: random.Random, count: int) -> tuple[float, ...]:
    while True:
        cuts = sorted(rng.sample(range(5, 96), count - 1))
        shares = [b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True)]
        if min(shares) >= 5 and _clear(shares, 6):
            return tuple(shares)


def _clear(values: list[int] | list[float], gap: float) -> bool:
    """Whether the highest and the lowest are seen to be so."""
    ordered = sorted(values)
    return ordered[-1] - ordered[-2] >= gap and ordered[1] - ordered[0] >= gap


def _series(rng: random.Random, count: int, trend: str | None) -> tuple[float, ...]:
    top = rng.choice((10, 20, 50, 100, 100, 200, 500, 1000, 5000, 10000)) * rng.uniform(0.5, 1.0)
    unit = 10.0 ** max(0, len(str(int(top))) - 2)
    while True:
        if trend is None:
            raw = [rng.uniform(0.05, 1) for _ in range(count)]
        elif trend == "steady":
            level = rng.uniform(0.4, 1)
            raw = [level * rng.uniform(0.975, 1.025) for _ in range(count)]
        else:
            low = rng.uniform(0, 0.6)
            steps = [rng.uniform(-0.15, 1) for _ in range(count - 1)]
            reached = [sum(steps[:index]) for index in range(count)]
            if reached[-1] <= 0.5:
                continue
            raw = [low + (1 - low) * (each - min(reached)) / (max(reached) - min(reached)) for each in reached]
            raw = raw if trend == "rising" else [1 + low - each for each in raw]
        fine = unit if trend != "steady" or top >= 100 else 1.0
        values = tuple(max(0.0, round(top * each / fine) * fine) for each in raw)
        if trend == "steady" and max(values) - min(values) > 0.08 * max(values):
            continue
        seen = trend == "steady" or (trend and len(set(values)) == count) or _clear(list(values), 0.07 * max(values))
        if seen and max(values) > 0:
            return values


def _asked(rng: random.Random, split: Split, chart: Chart, topic: Topic, trend: str | None) -> list[Asked]:
    tasks: list[Task] = []
    if trend != "steady" and _clear(list(chart.values), 0.06 * max(chart.values)):
        tasks += ["highest", "lowest"]
    if trend:
        tasks.append("trend")
    found = [_question(rng, split, task, chart, topic, trend) for task in tasks]
    if chart.kind != "pie" or chart.look.printed:
        many = [index for index, value in enumerate(chart.values) if value]
        for index in rng.sample(many, min(VALUES_ASKED[split], len(many))):
            forms = SHARE if chart.kind == "pie" else VALUE
            label = _named(rng, chart.labels[index]) if split == "train" else chart.labels[index]
            text = choose(rng, split, forms).format(label=label, counted=topic.counted, one=topic.one)
            found.append(Asked(text, written(chart.values[index]), "value"))
    rng.shuffle(found)
    return found


def _named(rng: random.Random, label: str) -> str:
    """As people write a label: mostly as it stands, else in small letters, behind "the", or a day or month in full."""
    if rng.random() < 0.7:
        return label
    return _IN_FULL.get(label) or rng.choice(("", "the ")) + label.lower()


def _question(rng: random.Random, split: Split, task: Task, chart: Chart, topic: Topic, trend: str | None) -> Asked:
    text = choose(rng, split, _WORDINGS[task]).format(one=topic.one, counted=topic.counted)
    if task == "trend":
        assert trend is not None
        return Asked(text, trend, task)
    wanted = (max if task == "highest" else min)(chart.values)
    return Asked(text, chart.labels[chart.values.index(wanted)], task)
