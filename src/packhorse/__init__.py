"""Packhorse: runs containerised science apps on supercomputers."""

__version__ = "0.1.0"
