"""Forms of function calls: how tools, calls and results are written for a model, and read from its answers."""
