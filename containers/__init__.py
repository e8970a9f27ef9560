"""Running somebody else's container safely. Knows nothing of Django, Celery or the evaluator."""
