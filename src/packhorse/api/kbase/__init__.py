"""The doors that KBase's clients know: EE2, and the older NarrativeJobService, UserAndJobState and AWE."""
