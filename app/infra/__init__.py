"""How the service runs: databases, queue, logs, metrics, HTTP. `app.features` is what it does."""
