"""Two functions, two calls in one answer, executed, and their results fed back:

python examples/weather_and_meeting.py [MODEL]

The embedded model answers, and nothing is downloaded, unless another is named.
"""

from __future__ import annotations

from typing import Literal

import bezel
from bezel.tools import Transcript

QUESTION = "What is the weather in Tokyo, and schedule a meeting titled review for tomorrow."


def get_weather(city: str, units: Literal["celsius", "fahrenheit"] = "celsius") -> dict[str, str | int]:
    """Current weather in a city.

    Args:
        city: The city's name.
        units: What the temperature is given in.
    """
    return {"city": city, "sky": "partly cloudy", "temperature": 24 if units == "celsius" else 75, "units": units}


def schedule_meeting(title: str, date: str) -> dict[str, str]:
    """Schedule a meeting.

    Args:
        title: What it is about.
        date: When it takes place.
    """
    return {"status": "scheduled", "title": title, "date": date}


def ask(model: bezel.Model) -> Transcript:
    """Let the model call the functions once, then answer in words from their results."""
    called = model.run_tools(QUESTION, [get_weather, schedule_meeting], max_rounds=1, temperature=0, max_tokens=200)
    # No more functions are offered for the answer: a small model would call them again rather than say what it knows.
    return called if called.finished else model.run_tools(called.messages, [], temperature=0, max_tokens=200)


def main(name: str = "tiny") -> None:
    """Print the question, each call with its result, and the answer."""
    print(f"User: {QUESTION}\n")
    done = ask(bezel.load(name))
    for message in done.messages:
        for call in message.get("tool_calls", ()):
            print(f"Call: {call['function']['name']}({call['function']['arguments']})")
        if message["role"] == "tool":
            print(f"Result of {message['name']}: {message['content']}")
    print(f"\n{name}: {done.text}")


if __name__ == "__main__":
    from command_line import run

    run(main, __doc__)
