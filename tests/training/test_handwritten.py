"""The frozen test stays what it was when it was written."""

from collections import Counter

from bezel.training.data import handwritten


def test_the_hundred_requests_keep_their_shares():
    shares = Counter(request.task for request in handwritten.load())
    assert shares == {"advisor": 35, "calls": 40, "sums": 10, "phrases": 8, "refusals": 7}


def test_expected_calls_fit_their_tools():
    for request in handwritten.load():
        if request.task != "calls":
            continue
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in request.tools}
        for call in request.expect:
            schema = schemas[call["name"]]
            assert set(schema["required"]) <= set(call["arguments"]) <= set(schema["properties"]), request.user
