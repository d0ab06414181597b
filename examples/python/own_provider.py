"""A key provider and a key store of your own."""

import secrets

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

import cmkit


class Vault:
    """Keys in this process: write one around your key service. Its wrap and unwrap are called when a data key is new or unknown."""

    name = "demo"

    def __init__(self) -> None:
        self.keys = {secrets.token_hex(16): secrets.token_bytes(32)}

    def wrap(self, key_id: str, capsule: bytes, /) -> cmkit.WrappedKey:
        name, _, version = key_id.partition("/")
        version = version or list(self.keys)[-1]
        return cmkit.WrappedKey(f"{name}/{version}", "A256KW", aes_key_wrap(self.keys[version], capsule))

    def unwrap(self, key_id: str, algorithm: cmkit.WrapAlgorithm, wrapped: bytes, /) -> bytes:
        key = self.keys.get(key_id.partition("/")[2])
        if key is None:
            raise cmkit.KeyNotFoundError("there is no such version", key_id=key_id)
        try:
            return aes_key_unwrap(key, wrapped)
        except InvalidUnwrap:
            raise cmkit.AuthenticationError from None


class Table:
    """Wrapped data keys kept apart from the rows that they encrypt. A real one would be durable."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}

    def get(self, dek_id: str, /) -> cmkit.StoredKey | None:
        row = self.rows.get(dek_id)
        return None if row is None else cmkit.StoredKey(row, tag=row)

    def put_if_absent(self, dek_id: str, data: bytes, /) -> bool:
        return self.rows.setdefault(dek_id, data) is data

    def replace_if_unchanged(self, dek_id: str, data: bytes, tag: bytes, /) -> bool:
        if self.rows.get(dek_id) != tag:
            return False
        self.rows[dek_id] = data
        return True

    def list(self) -> list[str]:
        return [*self.rows]


table = Table()
keyring = cmkit.Keyring(Vault(), keys="demo:main", key_store=table)
rows = [keyring.encrypt_compact(f"row {n}".encode(), {"table": "jobs", "row": str(n)}) for n in range(1000)]
assert keyring.decrypt(rows[42], {"table": "jobs", "row": "42"}) == b"row 42"
print(f"{len(rows)} rows of {len(rows[0])} bytes, {len(table.rows)} wrapped key")
