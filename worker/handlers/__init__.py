"""One file a job type. Importing this package registers them all."""

from worker.handlers import index, reconcile, validate
from worker.handlers.registry import chosen_types, job_types, load_modules

__all__ = ["chosen_types", "index", "job_types", "load_modules", "reconcile", "validate"]
