"""A larger tiny begins as the smaller one, but for what new layers add."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
growth = pytest.importorskip("recipes.tiny.growth")


def test_layers_are_put_in_behind_the_first_pattern() -> None:
    assert growth.sources(6, 6, 3) == [(layer, False) for layer in range(6)]
    assert growth.sources(6, 12, 3) == [
        *((layer, False) for layer in range(3)),
        *((layer % 3, True) for layer in range(6)),
        *((layer, False) for layer in range(3, 6)),
    ]
    for small, large in ((6, 3), (6, 8), (5, 8)):
        with pytest.raises(ValueError, match="whole patterns"):
            growth.sources(small, large, 3)


def test_a_wider_feed_forward_computes_what_it_did() -> None:
    torch.manual_seed(1)
    up, down, x = torch.randn(5, 4), torch.randn(4, 5), torch.randn(3, 4)
    wide_up, wide_down, scale = torch.randn(8, 4), torch.randn(4, 8), torch.randn(4)
    drawn = wide_up[5:].clone()
    growth.fill(wide_up, up)
    growth.fill(wide_down, down)
    growth.fill(scale, torch.arange(4.0))
    torch.testing.assert_close(torch.relu(x @ wide_up.T) @ wide_down.T, torch.relu(x @ up.T) @ down.T)
    assert torch.equal(wide_up[5:], drawn) and torch.equal(scale, torch.arange(4.0))
