"""A classifier behind HTTP: a page to drop photos on, and `/predict` for programs. Nothing heavy is imported here."""
