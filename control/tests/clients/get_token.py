"""An agent that gets a token with Authlib, as its documentation says: private_key_jwt and client credentials.

Usage: get_token.py ISSUER CLIENT_ID KEY_FILE SCOPE [URL]. Prints the answer as JSON; with a URL, calls it with the token
and adds the status of what came back as `called`.
"""

import json
import sys

from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import OKPKey

issuer, client_id, key_file, scope, *url = sys.argv[1:]
with open(key_file) as file:
    # A text would be taken for an RSA key.
    key = OKPKey.import_key(file.read())
session = OAuth2Session(client_id, key, token_endpoint_auth_method="private_key_jwt", scope=scope)
endpoint = f"{issuer}/oauth2/token"
session.register_client_auth_method(PrivateKeyJWT(endpoint, alg="EdDSA"))
token = session.fetch_token(endpoint, grant_type="client_credentials")
called = {"called": session.get(*url).status_code} if url else {}
print(json.dumps({**token, **called}))
