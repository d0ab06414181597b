"""cmkit's Python package side by side with its peers, in one run.

    pip install ./bindings/python --requirement benches/requirements.txt
    python benches/compare.py [--json FILE] [--seconds S]

Each figure is the median of five rounds in which the contestants take turns, so that a busy moment of the machine hits all alike. A peer that
isn't installed is left out. Every peer gets a local KEK in memory, or none where it wraps nothing, and its fastest sensible settings.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import cmkit

KIB = 1024
MIB = 1024 * KIB
ROUNDS = 5
Work = Callable[[], object]


def keyring(directory: str) -> cmkit.Keyring:
    provider = cmkit.LocalKeyProvider(Path(directory) / "keys")
    provider.create_key("bench")
    return cmkit.Keyring(provider, keys="local:bench")


def cobblestone(data: bytes) -> dict[str, Work]:
    """The same body as ours, with the key given: no envelope."""
    from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor

    key = Cobblestone256Encryptor.generate_key()

    def encrypt() -> bytes:
        encryptor = Cobblestone256Encryptor(key, b"doc=42")
        return encryptor.update(data) + encryptor.finalize()

    message = encrypt()

    def decrypt() -> bytes:
        decryptor = Cobblestone256Decryptor(key, b"doc=42")
        return decryptor.update(message) + decryptor.finalize()

    assert decrypt() == data
    return {"encrypt": encrypt, "decrypt": decrypt}


def aesgcm(data: bytes) -> dict[str, Work]:
    """One AES-256-GCM message: no key commitment, no chunks, a nonce that the caller has to keep apart."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    aead = AESGCM(AESGCM.generate_key(256))
    nonce = os.urandom(12)
    message = aead.encrypt(nonce, data, b"doc=42")
    sealed, opened = bytearray(len(message)), bytearray(len(data))
    return {
        "encrypt": lambda: aead.encrypt(nonce, data, b"doc=42"),
        "decrypt": lambda: aead.decrypt(nonce, message, b"doc=42"),
        "encrypt_into": lambda: aead.encrypt_into(nonce, data, b"doc=42", sealed),
        "decrypt_into": lambda: aead.decrypt_into(nonce, message, b"doc=42", opened),
    }


def tink_envelope(data: bytes) -> dict[str, Work]:
    """KmsEnvelopeAead with an AES-256-GCM KEK in this process: a new DEK and a wrap for each message, for it has no cache."""
    import tink  # type: ignore[import-untyped]
    from tink import aead

    aead.register()
    kek = tink.new_keyset_handle(aead.aead_key_templates.AES256_GCM).primitive(aead.Aead)
    envelope = aead.KmsEnvelopeAead(aead.aead_key_templates.AES256_GCM, kek)
    message = envelope.encrypt(data, b"doc=42")
    assert envelope.decrypt(message, b"doc=42") == data
    return {
        "encrypt": lambda: envelope.encrypt(data, b"doc=42"),
        "decrypt": lambda: envelope.decrypt(message, b"doc=42"),
    }


def aws_sdk(data: bytes) -> dict[str, Work]:
    """A raw AES master key in this process, the caching materials manager, committing and without signatures."""
    import aws_encryption_sdk as sdk  # type: ignore[import-untyped]
    from aws_encryption_sdk.identifiers import (  # type: ignore[import-untyped]
        Algorithm,
        EncryptionKeyType,
        WrappingAlgorithm,
    )
    from aws_encryption_sdk.internal.crypto.wrapping_keys import WrappingKey  # type: ignore[import-untyped]
    from aws_encryption_sdk.key_providers.raw import RawMasterKeyProvider  # type: ignore[import-untyped]

    class OneKey(RawMasterKeyProvider):  # type: ignore[misc]
        provider_id = "bench"

        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.key = os.urandom(32)

        def _get_raw_key(self, key_id: bytes) -> Any:
            return WrappingKey(
                wrapping_algorithm=WrappingAlgorithm.AES_256_GCM_IV12_TAG16_NO_PADDING,
                wrapping_key=self.key,
                wrapping_key_type=EncryptionKeyType.SYMMETRIC,
            )

    provider = OneKey()
    provider.add_master_key("kek")
    cache = sdk.LocalCryptoMaterialsCache(capacity=100)
    manager = sdk.CachingCryptoMaterialsManager(
        master_key_provider=provider, cache=cache, max_age=3600.0, max_messages_encrypted=1 << 30
    )
    client = sdk.EncryptionSDKClient()
    context = {"doc": "42"}

    def encrypt() -> bytes:
        # The cache needs to be told how long the message is.
        envelope: bytes = client.encrypt(
            source=data,
            materials_manager=manager,
            encryption_context=context,
            source_length=len(data),
            algorithm=Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
        )[0]
        return envelope

    envelope = encrypt()
    assert client.decrypt(source=envelope, materials_manager=manager)[0] == data
    return {"encrypt": encrypt, "decrypt": lambda: client.decrypt(source=envelope, materials_manager=manager)[0]}


def ours(ring: cmkit.Keyring, data: bytes) -> dict[str, Work]:
    context = {"doc": "42"}
    envelope = ring.encrypt(data, context)
    sealed, opened = bytearray(len(envelope)), bytearray(len(data))
    return {
        "encrypt": lambda: ring.encrypt(data, context),
        "decrypt": lambda: ring.decrypt(envelope, context),
        "encrypt_into": lambda: ring.encrypt_into(data, sealed, context),
        "decrypt_into": lambda: ring.decrypt_into(envelope, opened, context),
    }


def installed(make: Callable[[bytes], dict[str, Work]], data: bytes) -> dict[str, Work]:
    try:
        return make(data)
    except ImportError as error:
        print(f"{make.__name__} is left out: {error}", file=sys.stderr)
        return {}


def measure(contestants: dict[str, Work], seconds: float) -> dict[str, float]:
    """Seconds a call, each the median of the rounds."""
    calls = {}
    for name, work in contestants.items():
        work()
        start = time.perf_counter()
        work()
        once = max(time.perf_counter() - start, 1e-7)
        calls[name] = max(1, int(seconds / once))
    rounds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, work in contestants.items():
            count = calls[name]
            start = time.perf_counter()
            for _ in range(count):
                work()
            rounds[name].append((time.perf_counter() - start) / count)
    return {name: statistics.median(times) for name, times in rounds.items()}


# What to measure: bytes, the calls, and for which peer and call cmkit aims at which ratio.
CASES: list[tuple[int, list[tuple[str, Callable[[bytes], dict[str, Work]], dict[str, float]]]]] = [
    (
        KIB,
        [
            ("cryptography Cobblestone256", cobblestone, {"encrypt": 2.5}),
            ("tink KmsEnvelopeAead", tink_envelope, {"encrypt": 5.0}),
            ("aws-encryption-sdk, caching", aws_sdk, {"encrypt": 25.0}),
        ],
    ),
    (16 * MIB, [("cryptography AESGCM", aesgcm, {"encrypt": 1.4, "encrypt_into": 1.6})]),
]


def machine() -> dict[str, object]:
    model, flags = platform.processor(), []
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
            elif name.strip() == "flags":
                wanted = {"aes", "avx2", "avx512f", "pclmulqdq", "sha_ni", "vaes", "vpclmulqdq"}
                flags = sorted(wanted & set(value.split()))
                break
    except OSError:
        pass
    versions = {"python": platform.python_version(), "cmkit": cmkit.__version__}
    for package in ("cryptography", "tink", "aws-encryption-sdk"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"cpu": model, "flags": flags, "cpus": cpus, "load": os.getloadavg()[0], "versions": versions}


def compare(seconds: float) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as directory:
        ring = keyring(directory)
        for size, peers in CASES:
            data = os.urandom(size)
            mine = ours(ring, data)
            theirs = {name: (installed(make, data), aims) for name, make, aims in peers}
            for call, work in mine.items():
                contestants = {"cmkit": work}
                contestants |= {name: calls[call] for name, (calls, _) in theirs.items() if call in calls}
                times = measure(contestants, seconds)
                for name, taken in times.items():
                    aim = theirs[name][1].get(call) if name != "cmkit" else None
                    rows.append(
                        {
                            "bytes": size,
                            "call": call,
                            "who": name,
                            "microseconds": taken * 1e6,
                            "mib_per_second": size / taken / MIB,
                            "ratio": taken / times["cmkit"],
                            "at_least": aim,
                        }
                    )
    return rows


def table(rows: list[dict[str, object]]) -> str:
    lines = [f"{'bytes':>10} {'call':<13} {'who':<28} {'us':>10} {'MiB/s':>9} {'cmkit is':>9} {'aim':>6}"]
    for row in rows:
        aim = "" if row["at_least"] is None else f"{row['at_least']:.1f} x"
        ratio = "" if row["who"] == "cmkit" else f"{row['ratio']:.2f} x"
        lines.append(
            f"{row['bytes']:>10} {row['call']:<13} {row['who']:<28} {row['microseconds']:>10.2f} "
            f"{row['mib_per_second']:>9.0f} {ratio:>9} {aim:>6}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="cmkit's Python package side by side with its peers")
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    parser.add_argument("--seconds", type=float, default=0.3, help="time for each contestant in each round")
    arguments = parser.parse_args()
    # Peers warn of their own deprecations; that is not what is measured.
    warnings.simplefilter("ignore")
    result = {"machine": machine(), "rows": compare(arguments.seconds)}
    print(json.dumps(result["machine"]))
    print(table(result["rows"]))  # type: ignore[arg-type]
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
