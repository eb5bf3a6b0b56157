"""Estimates against peers, on traces of workflows and of batch systems that whoever runs this has."""
