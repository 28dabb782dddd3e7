"""Training: optim, schedule, probe, loop."""
