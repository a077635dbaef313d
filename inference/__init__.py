"""Hosting: the host keeps replicas running, a replica answers."""
