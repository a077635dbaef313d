"""`vigil …`: the command line."""
