"""Who asks: tokens of the store, of an OpenID Connect issuer, and of KBase."""
