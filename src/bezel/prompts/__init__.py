"""Builders of messages: cultures and styles, languages, images, functions with context."""

from bezel.prompts.cultures import CULTURES, Culture, load_cultures, register_culture
from bezel.prompts.functions import function_calling
from bezel.prompts.images import analysis, comparison
from bezel.prompts.instructions import answering, instructions
from bezel.prompts.languages import multilingual
from bezel.prompts.messages import Message
from bezel.prompts.styles import STYLES, Style

__all__ = [
    "CULTURES",
    "STYLES",
    "Culture",
    "Message",
    "Style",
    "analysis",
    "answering",
    "comparison",
    "function_calling",
    "instructions",
    "load_cultures",
    "multilingual",
    "register_culture",
]
