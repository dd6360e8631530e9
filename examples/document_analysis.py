"""A photographed invoice becomes fields, and they are checked: python examples/document_analysis.py PAGE.jpg [MODEL]

The answer follows a schema, so it can always be read; whether the lines add up is arithmetic, not the model's word.
"""

from __future__ import annotations

from dataclasses import dataclass

import bezel

SEES = "google/gemma-3-4b-it"


@dataclass
class Line:
    """One line of an invoice."""

    what: str
    amount: float


@dataclass
class Invoice:
    """What an invoice says."""

    sender: str
    number: str
    date: str
    lines: list[Line]
    total: float


def read(model: bezel.Model, page: str, **options: object) -> Invoice | None:
    """The invoice on an image; None where the answer was cut off."""
    parts = [{"type": "image", "image": page}, {"type": "text", "text": "Write down what this invoice says."}]
    question = [{"role": "user", "content": parts}]
    # Small print wants a closer look than the whole page at once.
    asked = {"temperature": 0, "max_tokens": 700, "pan_and_scan": True, **options}
    found: Invoice | None = model.chat(question, schema=Invoice, **asked).parsed
    return found


def doubts(invoice: Invoice) -> list[str]:
    """What in the fields cannot be right."""
    added = sum(line.amount for line in invoice.lines)
    return [f"the lines add up to {added:.2f}, not {invoice.total:.2f}"] if abs(added - invoice.total) > 0.005 else []


def main(page: str, name: str = SEES) -> None:
    """Print the fields, and what to look at again."""
    invoice = read(bezel.load(name), page)
    if invoice is None:
        print("The answer was cut off: the page holds more than one invoice, or the model is lost.")
        return
    print(f"{invoice.sender}, invoice {invoice.number} of {invoice.date}")
    for line in invoice.lines:
        print(f"  {line.what:40} {line.amount:12.2f}")
    print(f"  {'total':40} {invoice.total:12.2f}")
    for doubt in doubts(invoice):
        print(f"Look again: {doubt}.")


if __name__ == "__main__":
    from command_line import run

    run(main, __doc__)
