"""Front doors over HTTP: the native REST API.

``api.app.create_app`` makes it from a Service and the tokens that it accepts.
"""
