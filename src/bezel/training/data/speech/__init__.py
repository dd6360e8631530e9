"""Short phrases spoken by espeak-ng in five languages, with their translation to English."""
