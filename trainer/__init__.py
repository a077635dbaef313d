"""The Celery worker: imports data sets and trains models."""
