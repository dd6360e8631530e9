"""Which-Gemma-fits questions, answered by the catalogue's own advisor."""

import random

from bezel.catalog.advisor import NEEDS, Preference, advise, least_memory
from bezel.errors import InvalidRequestError
from bezel.training.data.example import Example, Split, choose, held_out, single_turn

GIB = 2**30


def _split(phrases: str) -> list[str]:
    return phrases.split("|")


_MEMORIES: tuple[float, ...] = (
    0.25,
    0.5,
    0.75,
    1,
    1.5,
    2,
    2.5,
    3,
    3.5,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    18,
    20,
    22,
    24,
)
_MEMORIES = (*_MEMORIES, 26, 28, 30, 32, 36, 40, 44, 48, 56, 60, 64, 72, 80, 96, 100, 128, 192, 256)
_NEEDS = (*["text"] * 5, *["image"] * 4, *["audio"] * 3, *["video", "embedding", "safety"] * 2, *NEEDS)
_CONTEXTS = (8000, 10000, 16000, 20000, 24000, 30000, 32000, 40000, 50000, 64000, 70000, 90000, 110000, 120000, 128000)
_NUMBER_WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 8: "eight", 10: "ten", 12: "twelve"}
_NUMBER_WORDS |= {16: "sixteen", 20: "twenty", 24: "twenty-four", 32: "thirty-two", 64: "sixty-four"}

# What people say they want to do, as a verb phrase ("to ..."), and as a thing ("something for ...").
_DOING = {
    "text": (
        "chat|answer questions|write emails|draft letters|talk in the evening|summarise my notes|rewrite paragraphs|"
        "brainstorm ideas|help with homework|reply to customers|explain things to my kids|write stories|"
        "clean up my English|answer support tickets|make to-do lists out of notes|have a conversation|"
        "fix my grammar|write blog posts|help me study|discuss books|answer mails offline|summarise articles|"
        "write product texts|do text only|be my writing assistant|turn bullet points into prose|keep me company"
    ),
    "image": (
        "describe photos|look at pictures|read receipts|understand charts|read screenshots|caption images|"
        "see what is on a photo|extract text from scans|answer questions about pictures|look at diagrams|"
        "recognise plants in photos|sort my photo album|read invoices from scans|inspect product photos|"
        "tell me what a picture shows|read handwriting from photos|check photos of parts|OCR documents|"
        "interpret graphs|see images|understand images and text|look through a camera still|read street signs in photos"
    ),
    "audio": (
        "transcribe meetings|understand voice messages|turn speech into text|listen to recordings|"
        "write down interviews|transcribe my lectures|hear what people say|translate spoken Spanish|"
        "transcribe podcasts|take dictation|understand speech|write out voice notes|process phone calls|"
        "follow spoken commands|make minutes from recordings|listen to audio|transcribe audio files|"
        "understand what I say|convert voice memos to text|hear and answer|recognise speech"
    ),
    "video": (
        "watch clips|understand videos|describe what happens in a video|analyse footage|summarise video clips|"
        "answer questions about a film clip|look at camera recordings|go through video recordings|follow a video|"
        "describe security footage|understand short movies|process video|tag video clips|watch a screen recording"
    ),
    "embedding": (
        "search my documents by meaning|make embeddings|build a vector index|find similar texts|compute text vectors|"
        "do semantic search|embed sentences|cluster articles|feed a vector database|retrieve passages for RAG|"
        "compare texts by meaning|turn texts into vectors|detect duplicate tickets by meaning|rank passages"
    ),
    "safety": (
        "moderate comments|filter harmful messages|check texts for hate speech|block toxic prompts|"
        "judge whether a text is safe|screen user messages|detect harassment in chats|guard a chatbot|"
        "classify dangerous content|moderate a forum|keep a chat safe|flag abusive posts|check prompts for policy"
    ),
    "image safety": (
        "moderate images|filter harmful pictures|check uploaded photos for violence|detect unsafe images|"
        "screen pictures before they are posted|block explicit photos|judge whether an image is safe|"
        "flag dangerous images|moderate a photo forum|classify unsafe pictures"
    ),
    "functions": (
        "call functions|call my tools|turn commands into API calls|trigger device actions|do function calling|"
        "pick the right tool|produce tool calls|control apps through functions|map requests to functions"
    ),
    "translation": (
        "translate documents|translate texts|translate web pages|translate letters into German|"
        "translate between languages|translate manuals|do machine translation|translate menus|"
        "translate emails into French|translate subtitles"
    ),
    "medical": (
        "read medical reports|answer medical questions|look at x-rays|interpret radiology images|"
        "summarise patient records|work with clinical notes|read skin photos for doctors|help in a clinic|"
        "understand medical images|support doctors"
    ),
}
_THING = {
    "text": "chat|plain text|writing|a chatbot|a text assistant|question answering|text generation|conversation",
    "image": "images|pictures|photos|vision|image understanding|OCR|visual questions|charts and photos|screenshots",
    "audio": "audio|speech|voice|speech recognition|transcription|voice notes|dictation|speech translation|sound",
    "video": "video|videos|clips|video understanding|footage|video analysis|film clips",
    "embedding": "embeddings|semantic search|text vectors|retrieval|a vector store|similarity search|RAG indexing",
    "safety": "content moderation|text moderation|safety checks on text|toxicity filtering|a safety filter|guardrails",
    "image safety": "image moderation|photo moderation|safety checks on images|picture filtering",
    "functions": "function calling|tool calls|tool use on device|API calls from text",
    "translation": "translation|machine translation|translating texts|multilingual translation",
    "medical": "medical questions|healthcare|medical images|radiology|clinical text",
}
_DEVICES = [
    "laptop",
    "phone",
    "tablet",
    "old PC",
    "Raspberry Pi",
    "mini PC",
    "desktop",
    "server",
    "workstation",
    "Mac",
    "notebook",
    "netbook",
    "Chromebook",
    "home server",
    "NAS",
    "edge box",
    "virtual machine",
    "cloud instance",
    "office computer",
    "gaming PC",
    "board",
    "Jetson",
    "container",
    "graphics card",
    "GPU",
    "smartphone",
    "MacBook",
    "ThinkPad",
    "rack server",
    "kiosk",
    "industrial PC",
    "VM",
    "box",
    "machine",
    "computer",
]
_HAVING = [
    "I have {m}",
    "my {d} has {m}",
    "on a {d} with {m}",
    "with {m}",
    "{m} available",
    "there is {m} on my {d}",
    "a {d} with {m}",
    "we have a {d}, {m}",
    "only {m} here",
    "{m} is all I have",
    "my {d} only has {m}",
    "the {d} comes with {m}",
    "given {m}",
    "I can spare {m}",
    "it must fit in {m}",
    "within {m}",
    "{d}, {m}",
    "on {m}",
    "not more than {m}",
    "I own a {d} with {m}",
    "my budget is {m}",
    "up to {m} can be used",
    "our {d} offers {m}",
    "I got a {d} ({m})",
    "memory: {m}",
    "there are {m} free",
    "using at most {m}",
    "under {m}",
    "running on a {d} that has {m}",
    "my {d}'s got {m}",
    "all we have is a {d} with {m}",
    "{m} on the {d}",
    "the limit is {m}",
    "it has to run in {m}",
    "I just bought a {d} with {m}",
]
_UNITS = [
    "{n} GB",
    "{n}GB",
    "{n} GB of RAM",
    "{n} gigs",
    "{n} gigs of RAM",
    "{n} gigabytes",
    "{n} GB RAM",
    "{n} gb ram",
    "{n} GB memory",
    "{n}G",
    "{n} gigabytes of memory",
    "{n} gig",
    "{n} GiB",
    "{n} GB of memory",
    "{n}gb",
    "{n} gb of memory",
    "{n} gigs of memory",
    "{n} GB VRAM",
]
_WANTING = [
    "I want to {v}",
    "I need to {v}",
    "I'd like to {v}",
    "to {v}",
    "it should {v}",
    "it has to {v}",
    "it must {v}",
    "for {t}",
    "I need it for {t}",
    "something that can {v}",
    "I want it to {v}",
    "we want to {v}",
    "the job is to {v}",
    "mainly {t}",
    "my plan is to {v}",
    "just {t}",
    "use: {t}",
    "the task is {t}",
    "able to {v}",
    "so that I can {v}",
    "and I would love to {v}",
    "it only needs to {v}",
    "we use it for {t}",
    "purpose: {t}",
    "my goal is to {v}",
    "I am looking to {v}",
    "good at {t}",
    "we are going to {v}",
    "my boss asks me to {v}",
    "all it does is {v}",
    "and it will {v}",
    "I'm after {t}",
    "{t} is what I need",
]
_ASKING = [
    "Which Gemma fits",
    "Which Gemma should I use",
    "What should I run",
    "which model",
    "What do you recommend",
    "Which variant is right",
    "Recommend a Gemma",
    "Pick a Gemma for me",
    "which Gemma is best",
    "What can I use",
    "Tell me the model to take",
    "What would you choose",
    "Suggest a model",
    "Which one",
    "what model do I pick",
    "Name the right Gemma",
    "Advise me",
    "Which Gemma do I download",
    "what fits",
    "Any suggestion",
    "Which Gemma would work",
    "Help me choose a Gemma",
    "What is the right variant",
    "Which checkpoint",
    "Find me a Gemma",
    "Which Gemma can do that",
    "What's your pick",
    "Which Gemma do I need",
    "which one should I get",
    "Is there a Gemma for that",
]
_QUESTION_FIRST = [
    "Which Gemma can {v}",
    "What Gemma should I take to {v}",
    "Recommend a model that can {v}",
    "Which model is good for {t}",
    "I need a Gemma for {t}",
    "What do I use for {t}",
    "Looking for a Gemma to {v}",
    "Which Gemma for {t}",
    "Suggest something to {v}",
    "Can I {v}",
    "best Gemma for {t}",
    "{t}",
    "How can I {v}",
    "Give me a model for {t}",
    "Is there something that can {v}",
    "What runs {t}",
    "I'm looking for a model to {v}",
    "Which variant do I want for {t}",
    "Please choose a Gemma that can {v}",
    "What would {v}",
    "Any Gemma for {t}",
    "Want to {v}",
]
_LONG = [
    "with a context of {c}",
    "prompts of {c}",
    "documents of {c}",
    "context {c}",
    "it must hold {c}",
    "up to {c} at once",
    "inputs are {c} long",
    "{c} of context",
    "long inputs, {c}",
    "my files have about {c}",
    "the context should be {c}",
    "reading {c} in one go",
    "each text is around {c}",
    "with {c} in the window",
]
_TOKENS = ("{n} tokens", "{k}k tokens", "{k}K tokens", "{k} thousand tokens", "{comma} tokens", "{k}k")
_SMALL = [
    "the smallest one",
    "as small as possible",
    "the lightest that works",
    "smallest please",
    "I prefer the smallest",
    "the tiniest one that can",
    "the fastest one",
    "speed matters most",
    "something very light",
    "keep it minimal",
    "the smaller the better",
    "as little memory as possible",
    "the least memory",
    "quickest answers matter",
    "lightweight please",
    "choose the smallest",
    "smallest possible model",
    "I want it as fast as possible",
    "the leanest",
]
_BEST = [
    "",
    "",
    "",
    "",
    "",
    "",
    "the best one",
    "as good as possible",
    "quality matters",
    "the most capable",
    "the strongest that fits",
    "best quality please",
]
_JOINTS = (", ", ". ", " and ", "; ", " - ", ", ", ". ", "\n")


def answer(need: str, memory_gb: float, context: int = 0, prefer: Preference = "best") -> str:
    """The advisor's answer in the words that the model learns; `memory_gb` in units of 2^30 bytes."""
    found = advise(memory_gb * GIB, need, context, prefer)
    if found:
        return f"{found[0].variant.name} at {found[0].level}."
    try:
        least = least_memory(need, context)
    except InvalidRequestError:
        return f"No Gemma for {need} holds that context."
    return f"Nothing fits. The smallest is {least.variant.name} at {least.level}."


def _memory(rng: random.Random, split: Split, gigabytes: float) -> str:
    if gigabytes < 1 and rng.random() < 0.6:
        return choose(rng, split, ("{n} MB", "{n}MB", "{n} megabytes", "{n} MB of RAM", "{n} megs")).format(
            n=int(gigabytes * rng.choice((1000, 1024)))
        )
    number = f"{gigabytes:g}"
    if gigabytes in _NUMBER_WORDS and rng.random() < 0.15:
        number = _NUMBER_WORDS[int(gigabytes)]
    return choose(rng, split, _UNITS).format(n=number)


def _tokens(rng: random.Random, split: Split, context: int) -> str:
    return choose(rng, split, _TOKENS).format(n=context, k=context // 1000, comma=f"{context:,}")


def sample(rng: random.Random, split: Split) -> Example:
    """One question; pairs of need and memory are held out as well as every slot's phrasings."""
    while True:
        need = rng.choice(
            ("text",) * 5 + ("image",) * 4 + ("audio",) * 3 + ("video", "embedding", "safety") * 2 + tuple(_DOING)
        )
        gigabytes = rng.choice(_MEMORIES)
        if held_out(f"{need}@{gigabytes}") == (split == "held_out"):
            break
    prefer: Preference = "small" if rng.random() < 0.2 else "best"
    context = rng.choice(_CONTEXTS) if need in ("text", "image", "audio") and rng.random() < 0.2 else 0
    doing = choose(rng, split, _DOING[need].split("|"))
    thing = choose(rng, split, _THING[need].split("|"))
    memory = _memory(rng, split, gigabytes)
    having = choose(rng, split, _HAVING).format(m=memory, d=rng.choice(_DEVICES))
    extras = [choose(rng, split, _SMALL if prefer == "small" else _BEST)]
    extras += [choose(rng, split, _LONG).format(c=_tokens(rng, split, context))] if context else []
    extras = [extra for extra in extras if extra]
    rng.shuffle(extras)
    if rng.random() < 0.5:
        wanting = choose(rng, split, _WANTING).format(v=doing, t=thing)
        facts = [having, wanting]
        rng.shuffle(facts)
        facts += extras
        if rng.random() < 0.2:
            rng.shuffle(facts)
        asking = choose(rng, split, _ASKING)
        parts = [asking, *facts] if rng.random() < 0.3 else [*facts, asking] if rng.random() < 0.9 else facts
    else:
        parts = [choose(rng, split, _QUESTION_FIRST).format(v=doing, t=thing), having, *extras]
        if rng.random() < 0.3:
            rng.shuffle(parts)
    return single_turn(_sentences(rng, parts), answer(need, gigabytes, context, prefer), "advisor")


def _sentences(rng: random.Random, parts: list[str]) -> str:
    text = parts[0]
    for part in parts[1:]:
        joint = rng.choice(_JOINTS)
        text += "? " + part if rng.random() < 0.1 else joint + (part[0].upper() + part[1:] if joint == ". " else part)
    style = rng.random()
    text = text.lower() if style < 0.2 else text[0].upper() + text[1:] if style < 0.85 else text
    return text + rng.choice(("?", ".", "", "?", "!", " please"))
