"""What it takes to make models: the generated data of the embedded model and the tests that judge it."""
