"""How the service runs: databases, queue, telemetry, HTTP. What it does is in `app.features`."""
