"""Documents in memory under a local key, each bound to its place by an encryption context."""

import tempfile
from pathlib import Path

import cmkit

with tempfile.TemporaryDirectory() as directory:
    # cmkit.Keyring.local() would use your own key directory, and its key local:default.
    provider = cmkit.LocalKeyProvider(Path(directory) / "keys")
    provider.create_key("team")
    keyring = cmkit.Keyring(provider, keys="local:team")

    envelope = keyring.encrypt(b"attack at dawn", {"doc": "42"})
    print(cmkit.inspect(envelope).recipients[0].key_id)
    assert keyring.decrypt(envelope, {"doc": "42"}) == b"attack at dawn"

    # Another place, another context: what is moved there doesn't open.
    try:
        keyring.decrypt(envelope, {"doc": "43"})
    except cmkit.AuthenticationError as error:
        print(error)

    # A new version of the key wraps from now on; the old one still unwraps.
    provider.rotate("team")
    assert keyring.decrypt(envelope, {"doc": "42"}) == b"attack at dawn"
