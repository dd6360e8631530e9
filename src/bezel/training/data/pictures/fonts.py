"""Fonts to draw with: those installed here for training, Pillow's own to be tested with.

None is part of this repository: `apt-get install fonts-dejavu fonts-liberation fonts-freefont-ttf fonts-lato
fonts-open-sans fonts-roboto-unhinted` brings enough.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bezel.errors import BezelError

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

FOLDER = Path("/usr/share/fonts")
FACES = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansCondensed"),
    *("LiberationSans-Regular", "LiberationSans-Bold", "LiberationSerif-Regular", "LiberationSansNarrow-Regular"),
    *("FreeSans", "FreeSansBold", "FreeSerif", "Lato-Regular", "Lato-Bold", "Lato-Medium"),
    *(
        "OpenSans-Regular",
        "OpenSans-Semibold",
        "Roboto-Regular",
        "Roboto-Medium",
        "NotoSans-Regular",
        "NotoSerif-Regular",
    ),
)
BUILT_IN = "built-in"
"""Pillow's own font: held out, since every machine that draws a picture has it."""


@lru_cache(maxsize=1)
def for_training(folder: Path = FOLDER) -> tuple[str, ...]:
    """Paths of the FACES that are installed, in their order; BezelError where there are none."""
    found = {path.stem: str(path) for kind in ("ttf", "otf") for path in sorted(folder.rglob(f"*.{kind}"))}
    faces = tuple(found[face] for face in FACES if face in found)
    if not faces:
        raise BezelError(f"{folder}: no font to train with is here; install fonts-dejavu and fonts-liberation")
    return faces


@lru_cache(maxsize=2048)
def font(name: str, size: int) -> FreeTypeFont:
    """The font at a path, or BUILT_IN, `size` pixels high."""
    from PIL import ImageFont, features

    if name != BUILT_IN:
        return ImageFont.truetype(name, size, layout_engine=ImageFont.Layout.BASIC)
    if not features.check("freetype2"):
        raise BezelError("this Pillow has no FreeType and draws no text of a size; install Pillow's own wheel")
    found = ImageFont.load_default(size)
    assert isinstance(found, ImageFont.FreeTypeFont)
    return found
