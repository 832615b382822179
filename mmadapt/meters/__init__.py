"""What is read off a training step, one that is run and one that is followed on shapes alone."""
