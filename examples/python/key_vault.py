"""Data under a key that stays in the customer's vault: python key_vault.py https://VAULT.vault.azure.net/keys/NAME"""

import sys

import cmkit

key_id = sys.argv[1]

# Signs in with the identity that the environment has: a managed identity, workload identity or a client secret. A credential object of azure-identity
# goes in as the second argument.
provider = cmkit.KeyVaultProvider(key_id)

# Everything that the key needs, tried one by one; what fails says what to do.
report = provider.doctor()
print(report)
if not report.is_healthy:
    sys.exit(1)

with open("audit.jsonl", "a") as log:

    def audit(event: cmkit.AuditEvent) -> None:
        print(event.operation, event.outcome, event.key_id, event.call_id, file=log)

    keyring = cmkit.Keyring(provider, workspace="tenant-7", audit=audit, call_timeout=10.0)

    # A thread asks the vault every five minutes whether the key still works, so that no message waits for it. When the answer is no, data keys are wiped.
    with keyring.maintenance():
        rows = [keyring.encrypt(f"row {n}".encode(), {"table": "jobs", "row": str(n)}) for n in range(1000)]
        assert keyring.decrypt(rows[42], {"table": "jobs", "row": "42"}) == b"row 42"
    print(f"{len(rows)} rows")

    # After the key got a new version in the vault: old wraps stay beside new ones for a day. Run it again tomorrow.
    rotation = keyring.rotation()
    outcomes = [rotation.rotate(row).outcome for row in rows[:10]]
    print(f"newest version {rotation.newest[0].key_id}: {', '.join(sorted(set(outcomes)))}")

    # Before an old version is disabled.
    census = cmkit.Census(keyring)
    for row in rows:
        census.add_envelope(row)
    for version in census.versions:
        verdict = census.safe_to_disable(version.key_id, rotation.newest[0])
        print(version.key_id, version.headers, "safe to disable" if verdict else "; ".join(verdict.reasons))
