"""Events of runs, sent to those who asked to be told."""
