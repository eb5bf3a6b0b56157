"""Repeatable benchmarks: ratios against named peers within one run. ``make bench``, or ``make bench ONLY=overhead``."""
