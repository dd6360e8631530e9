"""How pictures look at random: faces, sizes, colours and layouts, of which some are held out."""

from __future__ import annotations

import colorsys
import random
from dataclasses import replace
from typing import Any

from bezel.training.data.example import Split, held_out
from bezel.training.data.pictures import fonts
from bezel.training.data.pictures.charts import Kind, Look

LAYOUTS = {"horizontal": 0.35, "grid": 0.35, "printed": 0.35, "legend": 0.35, "dark": 0.2}
"""How often each is drawn."""
LEGENDS_LEARNED = 0.6
"""How often a legend is in training: what it explains is found by colour, which takes longest to learn."""
SHAPES = ((256, 256), (256, 256), (280, 240), (320, 256), (300, 225), (240, 280), (360, 270), (320, 320))


def face(rng: random.Random, split: Split) -> str:
    """A font's name; the one that is held out is Pillow's own."""
    return fonts.BUILT_IN if split == "held_out" else rng.choice(fonts.for_training())


def colours(rng: random.Random, split: Split, count: int, dark: bool) -> tuple[str, ...]:
    """As many colours that differ and stand out. Of every three neighbouring hues in 36 the split has its own."""
    while True:
        first, step = rng.randrange(36), rng.choice((5, 7, 11, 13))
        if held_out(f"hue {first} {step}", 6) == (split == "held_out"):
            break
    light, strong = (rng.uniform(0.5, 0.7) if dark else rng.uniform(0.32, 0.58)), rng.uniform(0.35, 0.9)
    found = []
    for index in range(count):
        lightness = min(0.8, max(0.25, light + (-0.12, 0.1, 0.0)[index % 3]))
        red, green, blue = colorsys.hls_to_rgb((first + step * index) % 36 / 36, lightness, strong)
        found.append(f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}")
    return tuple(found)


def look(rng: random.Random, split: Split, kind: Kind, count: int) -> Look:
    """A chart's look: which combinations of LAYOUTS it may have depends on the split."""
    often = LAYOUTS | ({"legend": LEGENDS_LEARNED} if split == "train" else {})
    while True:
        flags: dict[str, Any] = {name: rng.random() < share for name, share in often.items()}
        flags["horizontal"] &= kind == "bar"
        flags["legend"] &= kind != "line"
        flags["grid"] &= kind != "pie"
        layout = " ".join(name for name in LAYOUTS if flags[name])
        if layout == "" or held_out(f"{kind}: {layout}", 5) == (split == "held_out"):
            break
    width, height = rng.choice(SHAPES)
    size = rng.randint(11, 14) * width // 256
    chosen = Look(width, height, face(rng, split), size, **flags)
    one = kind == "line" or (not chosen.legend and kind == "bar" and rng.random() < 0.4)
    return replace(
        chosen,
        palette=colours(rng, split, 1 if one else count, chosen.dark),
        dots=rng.random() < 0.7,
        gap=rng.uniform(0.1, 0.55),
        thickness=rng.uniform(1.2, 3.2),
        turn=rng.choice((-90, -90, 0, 45, 180, rng.randrange(360))),
    )
