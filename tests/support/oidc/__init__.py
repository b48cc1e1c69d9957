"""An OpenID Connect issuer to sign in at."""
