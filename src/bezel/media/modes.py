"""Pillow's modes as RGB: the high byte of 16 bits, what is transparent over white. ICC profiles are not applied."""

from __future__ import annotations

from typing import Any

_HIGH_BYTES = [value >> 8 for value in range(1 << 16)]


def rgb(image: Any, transparent: Any = None) -> Any:
    """A Pillow image of any mode but F as one of mode RGB.

    `transparent` is a grey, a colour, an entry of the palette or the alphas of its entries, as Pillow's info has it.
    """
    from PIL import Image

    if image.mode.startswith("I"):
        image = _narrowed(image.convert("I"), transparent)
    elif transparent is not None and image.mode in ("1", "L", "RGB", "P"):
        image.info["transparency"] = transparent
        image = image.convert("RGBA")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBa"):
        image = image.convert("RGBA")
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _narrowed(image: Any, transparent: Any) -> Any:
    """16-bit grey as 8 bits, with what is transparent; Pillow's own conversion clips at 255."""
    from PIL import Image

    grey = image.point(_HIGH_BYTES, "L")
    if not isinstance(transparent, int):
        return grey
    seen = [255] * (1 << 16)
    seen[transparent & 0xFFFF] = 0
    return Image.merge("LA", (grey, image.point(seen, "L")))
