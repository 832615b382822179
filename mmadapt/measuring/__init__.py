"""What recipes take, measured in runs of a few iterations."""
