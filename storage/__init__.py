"""The ground: all that outlives a process, and every message between processes. Never imports torch."""
