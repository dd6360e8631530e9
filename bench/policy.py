"""What the content policy costs: `python bench/policy.py`. Processor time, medians of five rounds."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

from bezel.safety.content import ContentPolicy
from bezel.safety.patterns import Pattern, words
from bezel.safety.personal import personal_rules
from bezel.safety.rules import Rule
from bezel.safety.settings import KINDS
from bezel.safety.window import Window

TOKENS, CHARACTERS, ROUNDS = 1_000, 2_000_000, 5


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, the median."""
    taken = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def main() -> None:
    """Print a row for each policy."""
    rng = random.Random(1)
    vocabulary = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 8))) for _ in range(2_000)]
    tokens = [f" {rng.choice(vocabulary)}" for _ in range(TOKENS)]
    text = "".join(rng.choice(tokens) for _ in range(CHARACTERS // 5))[:CHARACTERS]
    own = [
        Rule(f"rule-{number}", "block", (Pattern(*words([f"word{number}x{each}" for each in range(20)])),))
        for number in range(100)
    ]
    policies = {
        "six kinds of personal data": personal_rules(KINDS, "redact"),
        "10 rules of 20 words": tuple(own[:10]),
        "100 rules of 20 words": tuple(own),
    }
    print("| policy | µs a token of a stream | s for a request of 2,000,000 characters |\n|---|---:|---:|")
    for name, rules in policies.items():

        def stream(rules: tuple[Rule, ...] = rules) -> None:
            window = Window(rules, lambda *_: None, 100)
            for token in tokens:
                window.push(token)
            window.close()

        policy = ContentPolicy(rules)
        whole = seconds(lambda policy=policy: policy.request_text(text, lambda *_: None))  # type: ignore[misc]
        print(f"| {name} | {1e6 * seconds(stream) / TOKENS:.0f} | {whole:.2f} |")
    for pattern in ("1:", "4444 ", "DE12 ", "0123 "):  # what looks like personal data everywhere
        hostile = (pattern * CHARACTERS)[: CHARACTERS // 10]
        policy = ContentPolicy(policies["six kinds of personal data"])
        taken = seconds(lambda policy=policy, hostile=hostile: policy.request_text(hostile, lambda *_: None))  # type: ignore[misc]
        print(f"personal data, {pattern!r} over and over: {1e6 * taken / len(hostile):.1f} µs a character")


if __name__ == "__main__":
    main()
