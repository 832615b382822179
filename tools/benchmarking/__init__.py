"""What `tools/benchmark.py` is made of: cases, rows, what is measured of them, and the tables."""
