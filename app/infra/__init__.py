"""How the service runs: databases, queue, logs, metrics, HTTP. What it does is in `app.features`."""
