"""What may be asked and answered: classifiers, and the text that they are shown."""
