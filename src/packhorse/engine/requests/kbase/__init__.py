"""What KBase's clients ask for: jobs of its execution engine (EE2), as runs and tasks."""
