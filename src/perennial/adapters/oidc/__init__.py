"""Sign-in at an OpenID Connect issuer (Authlib): the exchange with it, and the pages that lead there and back."""
