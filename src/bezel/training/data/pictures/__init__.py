"""Pictures with questions about them: charts and short printed text."""
