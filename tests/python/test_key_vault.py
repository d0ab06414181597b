"""Keys in a vault, from Python: who signs in, what a vault may answer, and what becomes of data keys when a key is taken away."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from azure.identity import ClientSecretCredential
from azure.keyvault.keys import KeyClient
from azure.keyvault.keys._generated.models import KeyOperationsParameters
from azure.keyvault.keys._shared import http_challenge_cache

import cmkit

from .fake_vault import HSM, VAULT, FakeVault
from .vectors import ROOT

KEY = f"https://{VAULT}/keys/kek"
CONTEXT = {"doc": "42"}


@pytest.fixture
def empty(fake_vault: FakeVault, monkeypatch: pytest.MonkeyPatch) -> FakeVault:
    """Without a key, whose making takes a while, and with an environment that has a client secret."""
    sign_in(fake_vault, "client_secret", monkeypatch)
    return fake_vault


@pytest.fixture
def vault(empty: FakeVault) -> FakeVault:
    """With the key `kek`."""
    empty.create_key("kek")
    return empty


def sign_in(fake: FakeVault, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in fake.env(source).items():
        monkeypatch.setenv(name, value)


def provider(fake: FakeVault, key_id: str | list[str] = KEY, **options: Any) -> cmkit.KeyVaultProvider:
    return cmkit.KeyVaultProvider(key_id, ca_file=fake.ca_file, **options)


def keyring(fake: FakeVault, **options: Any) -> cmkit.Keyring:
    return cmkit.Keyring(provider(fake), **options)


def test_there_and_back(vault: FakeVault) -> None:
    first = keyring(vault)
    assert first.keys == (KEY,)
    envelope = first.encrypt(b"attack at dawn", CONTEXT)
    (recipient,) = cmkit.inspect(envelope).recipients
    assert recipient.provider == "azure-key-vault" and recipient.key_id.startswith(KEY + "/")
    assert keyring(vault).decrypt(envelope, CONTEXT) == b"attack at dawn"
    assert (vault.count("unwrap"), vault.count("entra")) == (2, 2)


@pytest.mark.parametrize(
    ("source", "credential", "op", "said"),
    [
        ("client_secret", None, "entra", "auto: client secret"),
        ("client_secret", "client-secret", "entra", "client secret"),
        ("workload", "workload", "entra", "workload"),
        ("imds", "imds", "imds", "IMDS"),
        ("app_service", "app-service", "app_service", "App Service"),
        ("azure_ml", None, "azure_ml", "auto: Azure ML"),
        ("azure_ml", "azure-ml", "azure_ml", "Azure ML"),
    ],
)
def test_sign_in(
    fake_vault: FakeVault,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    credential: str | None,
    op: str,
    said: str,
) -> None:
    sign_in(fake_vault, source, monkeypatch)
    fake_vault.create_key("kek")
    vault = provider(fake_vault, credential=credential)
    assert said in vault.identity and said in repr(vault)
    ring = cmkit.Keyring(vault)
    assert ring.decrypt(ring.encrypt(b"x")) == b"x"
    assert fake_vault.count(op) == 1


def application(fake: FakeVault) -> ClientSecretCredential:
    who = fake.identity
    return ClientSecretCredential(who["tenant_id"], who["client_id"], who["client_secret"])


class Older:
    """A credential that has the older method only."""

    def __init__(self, inner: ClientSecretCredential) -> None:
        self.inner = inner
        self.scopes: list[str] = []

    def get_token(self, *scopes: str, claims: str | None = None) -> cmkit.AccessToken:
        self.scopes += scopes
        return self.inner.get_token(*scopes, claims=claims)


def test_credential_objects(vault: FakeVault) -> None:
    older = Older(application(vault))
    credentials: list[cmkit.TokenCredential] = [application(vault), older]
    for credential in credentials:
        key = provider(vault, credential=credential)
        assert key.identity == f"callback {type(credential).__name__}"
        ring = cmkit.Keyring(key)
        assert ring.decrypt(ring.encrypt(b"x")) == b"x"
        assert ring.decrypt(cmkit.Keyring(key).encrypt(b"y")) == b"y"
    assert older.scopes == ["https://vault.azure.net/.default"]
    assert vault.count("entra") == 2


def test_claims_go_to_the_credential(vault: FakeVault) -> None:
    seen: list[str | None] = []

    class Watching(Older):
        def get_token(self, *scopes: str, claims: str | None = None) -> cmkit.AccessToken:
            seen.append(claims)
            return super().get_token(*scopes, claims=claims)

    ring = cmkit.Keyring(provider(vault, credential=Watching(application(vault))), policy=cmkit.DekPolicy.no_cache())
    ring.encrypt(b"x")
    vault.order("claims", claims={"access_token": {"nbf": {"essential": True, "value": str(int(time.time()))}}})
    ring.encrypt(b"x")
    assert seen[0] is None and seen[1] is not None and "access_token" in seen[1]


def failing(error: BaseException) -> cmkit.TokenCredential:
    class Failing:
        def get_token(self, *scopes: str, claims: str | None = None) -> cmkit.AccessToken:
            raise error

    return Failing()


@pytest.mark.parametrize("in_thread", [False, True])
def test_exceptions_of_credentials(empty: FakeVault, in_thread: bool) -> None:
    def check() -> None:
        error = LookupError("secret-thing")
        with pytest.raises(cmkit.IdentityError) as caught:
            cmkit.Keyring(provider(empty, credential=failing(error))).encrypt(b"x")
        assert caught.value.__cause__ is error and caught.value.key_id is None
        assert "LookupError" in str(caught.value) and "secret-thing" not in str(caught.value)
        ours = cmkit.IdentityError("sign in at the front desk")
        with pytest.raises(cmkit.IdentityError, match="front desk"):
            cmkit.Keyring(provider(empty, credential=failing(ours))).encrypt(b"x")
        for interrupt in (KeyboardInterrupt, SystemExit):
            with pytest.raises(interrupt):
                cmkit.Keyring(provider(empty, credential=failing(interrupt()))).encrypt(b"x")

    run(check, in_thread)
    assert empty.count("wrap") == 0


def run(check: Callable[[], None], in_thread: bool) -> None:
    if not in_thread:
        return check()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(check).result()


def test_what_is_no_credential(empty: FakeVault) -> None:
    class Answering:
        def __init__(self, answer: Any) -> None:
            self.answer = answer

        def get_token(self, *scopes: str, claims: str | None = None) -> Any:
            return self.answer

    class Asynchronous:
        async def get_token(self, *scopes: str, claims: str | None = None) -> Any:
            return None

    class Info:
        token: Any = "t"
        expires_on: Any = int(time.time()) + 3600

    def info(**fields: Any) -> Info:
        made = Info()
        vars(made).update(fields)
        return made

    wrong = [None, "token", info(token=b"t"), info(token=""), info(token="a\nb"), info(expires_on="soon"), info(expires_on=1), info(expires_on=1e300)]
    for credential in [*map(Answering, wrong), Asynchronous()]:
        with pytest.raises(cmkit.IdentityError):
            cmkit.Keyring(provider(empty, credential=credential)).encrypt(b"x")
    for value in (5, object(), b"imds"):
        with pytest.raises(TypeError):
            provider(empty, credential=value)
    with pytest.raises(ValueError, match="app-service"):
        provider(empty, credential="azureml?")
    with pytest.raises(ValueError, match="client_id"):
        provider(empty, credential=application(empty), client_id="x")


@pytest.mark.parametrize(
    ("key_id", "options"),
    [
        ("local:team", {}),
        ("nonsense", {}),
        ([], {}),
        ("https://example.com/keys/k", {}),
        (KEY, {"timeout": 0.5}),
        (KEY, {"timeout": -1}),
        (KEY, {"timeout": float("nan")}),
        (KEY, {"ca_file": "/none"}),
        (KEY, {"no_get": True}),
        (KEY, {"allow_hosts": "https://x"}),
        (KEY, {"audience": {"example.com": "vault"}}),
    ],
)
def test_wrong_arguments(empty: FakeVault, key_id: Any, options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, OSError)):
        cmkit.KeyVaultProvider(key_id, **options)


def test_hosts_and_keys(vault: FakeVault) -> None:
    other = f"https://{HSM}/keys/hsm"
    both = provider(vault, [KEY, other], allow_hosts=["third.vault.azure.net"])
    assert both.keys == (KEY, other)
    assert set(both.hosts) == {VAULT, HSM, "third.vault.azure.net"}
    assert both.name == "azure-key-vault"
    assert cmkit.Keyring(both).keys == (KEY, other)
    assert cmkit.Keyring(both, keys=[]).keys == ()
    vault.create_key("hsm", HSM, kty="oct-HSM", key_size=256)
    envelope = cmkit.Keyring(both).encrypt(b"x")
    assert [r.algorithm for r in cmkit.inspect(envelope).recipients] == ["RSA-OAEP-256", "A256KW"]
    assert cmkit.Keyring(provider(vault, other)).decrypt(envelope) == b"x"


def test_beside_local_keys(vault: FakeVault, tmp_path: Path) -> None:
    local = cmkit.LocalKeyProvider(tmp_path / "home")
    assert cmkit.Keyring([local, provider(vault)]).keys == (KEY,)
    local.create_key("team")
    envelope = cmkit.Keyring([local, provider(vault)], keys=["local:team", KEY]).encrypt(b"x")
    assert keyring(vault).decrypt(envelope) == b"x"


def official(fake: FakeVault) -> Any:
    http_challenge_cache.clear()
    return KeyClient(f"https://{VAULT}", application(fake))._client


def test_what_the_official_sdk_wraps_and_unwraps(vault: FakeVault) -> None:
    """Both ways over the same key version: cmkit's wraps are the service's own."""
    version = vault.rotate("kek").rsplit("/", 1)[1]
    kek = cmkit.KeyEncryptionKey(provider(vault), KEY)
    secret = bytes(range(40))
    parameters = KeyOperationsParameters(algorithm=kek.get_key_wrap_algorithm(), value=secret)
    theirs = official(vault).wrap_key("kek", version, parameters)
    assert theirs.kid == kek.get_kid() == f"{KEY}/{version}"
    assert kek.unwrap_key(theirs.result, "RSA-OAEP-256") == secret
    parameters = KeyOperationsParameters(algorithm="RSA-OAEP-256", value=kek.wrap_key(secret))
    assert official(vault).unwrap_key("kek", version, parameters).result == secret


Refusal = tuple[str, type[cmkit.CmkitError], Callable[[FakeVault, str], None], str | None]

REFUSALS: list[Refusal] = [
    ("denied", cmkit.AccessDeniedError, lambda v, k: v.order("deny", op="unwrap"), "ForbiddenByRbac"),
    ("firewall", cmkit.AccessDeniedError, lambda v, k: v.order("vault", host=VAULT, firewall=True), "ForbiddenByFirewall"),
    ("disabled", cmkit.KeyDisabledError, lambda v, k: v.set(k, enabled=False), "KeyDisabled"),
    ("deleted", cmkit.KeyNotFoundError, lambda v, k: v.order("delete", host=VAULT, key="kek"), None),
    ("throttled", cmkit.ThrottledError, lambda v, k: v.rule("unwrap", status=429, retry_after=7), None),
    ("unavailable", cmkit.UnavailableError, lambda v, k: v.rule("unwrap", status=503), None),
    ("another key's answer", cmkit.WrongVaultError, lambda v, k: v.rule("unwrap", merge={"kid": k.replace("kek", "other")}), None),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=[r[0] for r in REFUSALS])
def test_refusals(vault: FakeVault, refusal: Refusal) -> None:
    _, expected, order, code = refusal
    envelope = keyring(vault).encrypt(b"x", CONTEXT)
    kid = cmkit.inspect(envelope).recipients[0].key_id
    order(vault, kid)
    ring = keyring(vault, call_timeout=3.0)
    with pytest.raises(cmkit.CmkitError) as caught:
        ring.decrypt(envelope, CONTEXT)
    assert isinstance(caught.value, expected), repr(caught.value)
    error: Any = caught.value
    assert error.key_id == kid and kid in str(error)
    refused = [entry for entry in vault.log() if entry["op"] == "unwrap"][-1]
    assert error.client_request_id == refused["client_request_id"]
    assert error.request_id and error.region
    if code is not None:
        assert error.code == code
    assert error.retryable == isinstance(error, cmkit.ProviderError)
    if isinstance(error, cmkit.ThrottledError):
        assert error.retry_after == 7
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and vars(again) == vars(error)


def test_keys_that_will_not_do(empty: FakeVault) -> None:
    empty.create_key("kek", kty="RSA", key_size=2048)
    with pytest.raises(cmkit.KeyPolicyError, match="2048"):
        keyring(empty).encrypt(b"x")
    ring = cmkit.Keyring(provider(empty, allow_rsa_2048=True))
    assert ring.decrypt(ring.encrypt(b"x")) == b"x"
    with pytest.raises(cmkit.KeyNotFoundError):
        cmkit.Keyring(provider(empty, f"https://{VAULT}/keys/none")).encrypt(b"x")
    # Recoverable, but gone for now.
    empty.order("delete", host=VAULT, key="kek")
    with pytest.raises(cmkit.KeyNotFoundError) as caught:
        keyring(empty).encrypt(b"x")
    assert caught.value.retryable is False


def test_without_get(vault: FakeVault) -> None:
    version = vault.rotate("kek")
    vault.order("deny", op="get")
    key = provider(vault, version, no_get=True)
    ring = cmkit.Keyring(key)
    assert ring.decrypt(ring.encrypt(b"x")) == b"x"
    report = key.doctor()
    assert report.is_healthy and not report.is_verified


def test_doctor(vault: FakeVault) -> None:
    report = provider(vault).doctor()
    assert report.is_healthy and report.is_verified, str(report)
    assert report.key_id.startswith(KEY + "/") and "client secret" in report.identity
    assert [row.name for row in report.rows][:2] == ["sign-in", "get"]
    assert len(str(report).splitlines()) == 2 + len(report.rows)
    vault.order("deny", op="unwrap")
    report = provider(vault).doctor(KEY)
    assert not report.is_healthy
    (bad,) = [row for row in report.rows if row.outcome == "fail"]
    assert bad.name == "unwrap" and "FAIL  unwrap" in str(report)
    report = provider(vault, credential=failing(LookupError("x"))).doctor()
    assert report.rows[0].outcome == "fail" and "LookupError" in report.rows[0].detail
    with pytest.raises(ValueError, match="name the key"):
        provider(vault, [KEY, KEY + "2"]).doctor()
    with pytest.raises(KeyboardInterrupt):
        provider(vault, credential=failing(KeyboardInterrupt())).doctor()


def test_threads_share_one_wrap(vault: FakeVault) -> None:
    ring = keyring(vault)
    with ThreadPoolExecutor(8) as pool:
        envelopes = list(pool.map(lambda n: ring.encrypt(b"%d" % n), range(64)))
    # The key's own check when it is first used is one more.
    assert vault.count("wrap") == 2
    fresh = keyring(vault)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fresh.decrypt, envelopes)) == [b"%d" % n for n in range(64)]
    assert vault.count("entra") == 2


def test_audit(vault: FakeVault, tmp_path: Path) -> None:
    events: list[cmkit.AuditEvent] = []
    ring = keyring(vault, audit=events.append, workspace="w")
    envelope = ring.encrypt(b"x")
    assert keyring(vault, audit=tmp_path / "log", workspace="w").decrypt(envelope) == b"x"
    (wrap,) = [e for e in events if e.operation == "wrap"]
    assert wrap.outcome == "ok" and wrap.key_id.startswith(KEY + "/") and wrap.http_status == 200
    assert wrap.workspace == "w" and wrap.attempts >= 1 and wrap.region and wrap.duration > 0
    assert wrap.call_id in [entry["client_request_id"] for entry in vault.log()]
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert json.loads(line)["operation"] == "unwrap" and json.loads(line)["workspace"] == "w"
    vault.order("deny", op="unwrap")
    with pytest.raises(cmkit.AccessDeniedError) as caught:
        keyring(vault, audit=events.append, workspace="w").decrypt(envelope)
    failed = [e for e in events if e.operation == "unwrap"][-1]
    assert (failed.outcome, failed.code) == ("AccessDenied", "ForbiddenByRbac")
    assert failed.call_id == caught.value.client_request_id
    with pytest.raises(TypeError):
        keyring(vault, audit=5)
    with pytest.raises(OSError):
        keyring(vault, audit="/none/log")


def test_an_audit_function_that_fails(vault: FakeVault, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    def bad(event: cmkit.AuditEvent) -> None:
        raise LookupError

    ring = keyring(vault, audit=bad)
    assert ring.decrypt(ring.encrypt(b"x")) == b"x"
    assert told and told[0].exc_type is LookupError


def test_high_business_impact(vault: FakeVault, tmp_path: Path) -> None:
    events: list[cmkit.AuditEvent] = []
    ring = keyring(vault, workspace="secret-workspace", high_business_impact=True, audit=events.append)
    assert "secret" not in repr(ring) and "high_business_impact" in repr(ring)
    path = tmp_path / "secret-name"
    path.write_bytes(ring.encrypt(b"x"))
    other = keyring(vault, workspace="other", high_business_impact=True)
    bad = tmp_path / "secret-bad"
    bad.write_bytes(b"no envelope at all")
    calls: list[Callable[[], object]] = [
        lambda: other.decrypt(path.read_bytes()),
        lambda: ring.decrypt_file(bad, tmp_path / "out"),
        lambda: ring.decrypt_file(tmp_path / "secret-none", tmp_path / "out"),
        lambda: ring.decrypt_file(path, bad),
        lambda: cmkit.open(bad, keyring=ring),
        lambda: cmkit.open(tmp_path / "secret-none", keyring=ring),
        lambda: cmkit.open(bad, "xb", keyring=ring),
        lambda: cmkit.open(tmp_path / "secret-dir" / "x", "wb", keyring=ring),
        lambda: ring.rewrap_file(bad, KEY),
        lambda: ring.rotation().rotate_file(bad),
    ]
    for call in calls:
        with pytest.raises((cmkit.CmkitError, OSError)) as caught:
            call()
        assert "secret" not in str(caught.value) and "secret" not in repr(vars(caught.value)), repr(caught.value)
        assert "secret" not in str(getattr(caught.value, "filename", ""))
    assert events and all(e.workspace is None for e in events)


def environment(fake: FakeVault, home: Path) -> dict[str, str]:
    return {**fake.env("client_secret"), "CMKIT_HOME": str(home), "PATH": ""}


def test_the_example(vault: FakeVault, tmp_path: Path) -> None:
    example = ROOT / "examples/python/key_vault.py"
    command = [sys.executable, "-W", "error", str(example), KEY]
    env = environment(vault, tmp_path / "home")
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1000 rows" in done.stdout and "up_to_date" in done.stdout and "is the newest version" in done.stdout
    assert "wrap ok" in (tmp_path / "audit.jsonl").read_text()
    assert not (tmp_path / "home").exists()


def test_the_command(vault: FakeVault, tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-W", "error", "-m", "cmkit", *arguments]
        env = environment(vault, tmp_path / "home")
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    (tmp_path / "a").write_text("attack at dawn")
    ca = ("--ca-file", str(vault.ca_file))
    code, out, _ = run("doctor", *ca, KEY)
    assert code == 0 and "pass  purge protection" in out
    assert run("encrypt", "--key", KEY, "--identity", "client-secret", *ca, "--audit", "log", "a") == (0, "", "")
    assert json.loads((tmp_path / "log").read_text().splitlines()[-1])["operation"] in ("wrap", "newest", "unwrap")
    code, _, said = run("decrypt", "a.cmk", "-o", "b")
    assert code == 4 and "--key" in said
    for allowed in (("--key", KEY), ("--allow-host", VAULT)):
        assert run("decrypt", *allowed, "a.cmk", "-o", "-")[:2] == (0, "attack at dawn")
    old = cmkit.inspect((tmp_path / "a.cmk").read_bytes()).recipients[0].key_id
    vault.rotate("kek")
    code, out, _ = run("rotate", "--key", KEY, "--keep-old", "0", "--json", ".")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and (lines[0]["outcome"], lines[1]["summary"]["replaced"]) == ("replaced", 1)
    code, out, _ = run("census", "--safe-to-disable", old, "--json", ".")
    answer = json.loads(out)
    assert code == 1 and answer["headers"] == 1 and len(answer["safe_to_disable"]["reasons"]) == 1
    assert run("census", ".")[0] == 0
    vault.order("deny", op="unwrap")
    assert run("decrypt", "--key", KEY, "a.cmk", "-o", "-")[0] == 4
    code, out, _ = run("doctor", "--json", KEY)
    assert code == 1 and json.loads(out)["healthy"] is False
    for wrong in (("--identity", "me"), ("--keep-old", "1w"), ("--unknown",)):
        assert run("rotate", *wrong, "a.cmk")[0] == 2
