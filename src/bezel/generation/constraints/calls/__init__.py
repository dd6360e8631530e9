"""Function calls that cannot be malformed: what a model may write where tools are offered."""
