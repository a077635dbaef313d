"""The HTTP face: AWS's words, routes, errors, signatures and the command line."""
