"""What leaves a run: artifact, classifier, export, report."""
