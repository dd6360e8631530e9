"""How the embedded model is made: tokenizer, training, export. See README.md beside this file."""
