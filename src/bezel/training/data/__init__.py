"""Generators of training data, one file per task, each with held-out splits that depend only on hashes."""
