"""What the scripts share: measuring whole processes, saying where, data and work to measure on, lines and tables."""
