"""What a Gemma may be wanted for."""

NEEDS = (
    "text",
    "image",
    "audio",
    "video",
    "embedding",
    "safety",
    "image safety",
    "functions",
    "translation",
    "medical",
)
