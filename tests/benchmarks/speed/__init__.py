"""`make bench-speed`: what Vigil takes of time and memory, beside anomalib. Writes docs/speed.md."""
