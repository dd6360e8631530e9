"""bezel runs Google's Gemma models on a CPU."""

__version__ = "0.1.0"
