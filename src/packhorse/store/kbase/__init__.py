"""What the store keeps for KBase's execution engine beside runs and tasks."""
