"""Between the wire and the domain; the only place that knows both."""
