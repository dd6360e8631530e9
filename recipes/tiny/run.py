"""A model that learns, step by step, kept in a folder from which another run goes on."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import torch

MUON_RATE, ADAM_RATE = 5e-3, 3e-3
WARM_UP_STEPS, CONSTANT_UNTIL = 60, 0.25
CHECKPOINT_SECONDS = 480.0
_BY_ADAM = re.compile(r"embed|altup\.|head")


def rate(step: int, done: float) -> float:
    """Warm-up, constant, linear decay."""
    decay = 1.0 if done < CONSTANT_UNTIL else max(0.02, (1 - done) / (1 - CONSTANT_UNTIL))
    return min(1.0, (step + 1) / WARM_UP_STEPS) * decay


class Run:
    """`steps` in all, over every run of this folder; `factor` is on the learning rates.

    Matrices learn by Muon; embeddings, what mixes streams, heads, norms and convolutions by AdamW.
    """

    def __init__(self, folder: Path, model: torch.nn.Module, steps: int, factor: float = 1.0) -> None:
        self.model, self.steps, self._factor = model, steps, factor
        self._saved = folder / "checkpoint.pt"
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        matrices = [p for name, p in named if p.dim() == 2 and not _BY_ADAM.search(name)]
        self._others = [p for name, p in named if p.dim() != 2 or _BY_ADAM.search(name)]
        self._optimisers = [
            torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(self._others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self.step = 0
        if self._saved.exists():
            state = torch.load(self._saved)
            model.load_state_dict(state["model"])
            for optimiser, kept in zip(self._optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(kept)
            self.step = state["step"]

    def learn(self, loss_of: Callable[[float], torch.Tensor], scores: Callable[[], dict[str, float]]) -> None:
        """Take all steps that are left. `loss_of` is given the share that is done, `scores` asked at checkpoints."""
        saved, losses, started, first = time.monotonic(), [], time.monotonic(), self.step
        while self.step < self.steps:
            done = self.step / self.steps
            loss = loss_of(done)
            loss.backward()
            self._update(done)
            losses.append(loss.item())
            if time.monotonic() - saved > CHECKPOINT_SECONDS or self.step == self.steps:
                self._save()
                seconds = (time.monotonic() - started) / (self.step - first)
                report = {"step": self.step, "seconds": round(seconds, 3), "loss": round(sum(losses) / len(losses), 4)}
                print(json.dumps(report | scores()), flush=True)
                saved, losses = time.monotonic(), []

    def _update(self, done: float) -> None:
        torch.nn.utils.clip_grad_norm_(self._others, 1.0)
        for optimiser, base in zip(self._optimisers, (MUON_RATE, ADAM_RATE), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = base * self._factor * rate(self.step, done)
            optimiser.step()
            optimiser.zero_grad()
        self.step += 1

    def _save(self) -> None:
        state = {"model": self.model.state_dict(), "optimisers": [o.state_dict() for o in self._optimisers]}
        torch.save({**state, "step": self.step}, self._saved.with_suffix(".new"))
        self._saved.with_suffix(".new").rename(self._saved)
