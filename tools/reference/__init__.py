"""The pages below docs/reference, made from the code: ``make reference`` writes them, and a test holds them to it."""
