"""The receiver: webhooks in, committed deliveries and jobs out; health and metrics."""
