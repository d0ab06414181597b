"""`python -m cmkit`: the commands encrypt, decrypt, inspect, rewrap, rotate, census, doctor and key, with the flags and exit codes of the `cmkit` program."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import logging
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import BinaryIO, TypeAlias

import cmkit

_SUFFIX = ".cmk"
_DEFAULT_KEY = "local:default"
_MAX_HEADER = 65_536
_COPY = 1 << 20
_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_IDENTITIES = ("auto", "app-service", "arc", "azure-ml", "azureml", "workload", "client-secret", "imds", "cli")
# Which exit code tells most: damage first, what another run may mend last.
_WORST = (3, 4, 1, 2)

_Namer: TypeAlias = Callable[[str], str]


class _Usage(Exception):
    """Wrong usage that argparse can't see."""


def exit_code(error: BaseException) -> int:
    """The exit code of an exception: the table of docs/errors.md."""
    if isinstance(error, (cmkit.AuthenticationError, cmkit.FormatError, cmkit.TruncatedError)):
        return 3
    if isinstance(
        error,
        (
            cmkit.PolicyError,
            cmkit.KeyNotFoundError,
            cmkit.KeyDisabledError,
            cmkit.AccessDeniedError,
            cmkit.KeyUnusableError,
        ),
    ):
        return 4
    if isinstance(error, cmkit.ProviderError):
        return 5
    if isinstance(error, (KeyboardInterrupt, cmkit.CancelledError)):
        return 130
    if isinstance(error, (_Usage, ValueError)) and not isinstance(error, cmkit.CmkitError):
        return 2
    return 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; its exit code."""
    logging.basicConfig(format="cmkit: %(message)s")
    parsed = _parser().parse_args(arguments)
    try:
        if _switch("CMKIT_HIGH_BUSINESS_IMPACT"):
            raise _Usage("CMKIT_HIGH_BUSINESS_IMPACT is set, and `python -m cmkit` can't keep names out of its messages; use the `cmkit` program")
        code: int = parsed.run(parsed)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read the output went away. What is still buffered must not be written at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt as error:
        _say("stopped; nothing was kept")
        return exit_code(error)
    except (_Usage, ValueError, OSError, cmkit.CmkitError) as error:
        _say(_sentence(error))
        return exit_code(error)


def _sentence(error: Exception) -> str:
    if isinstance(error, cmkit.KeyNotAllowedError):
        return f"{error} with `--key`"
    if isinstance(error, FileExistsError):
        return f"{error}; add `--force` to replace it, or name another file with `-o`"
    return str(error)


def _say(message: str) -> None:
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in message)
    print(f"cmkit: {printable}", file=sys.stderr)


def _encrypt(a: argparse.Namespace) -> int:
    source, destination = _places(a, lambda source: source + _SUFFIX)
    if destination is None and sys.stdout.isatty():
        raise _Usage("envelopes are not written to a terminal; name a file with `-o`, or pipe it on")
    keyring = _encrypting(a)
    if source is not None and destination is not None and os.path.isfile(source):
        keyring.encrypt_file(source, destination, _context(a), overwrite=a.force)
        return 0
    with _opened(source) as plaintext:
        if destination is None:
            with keyring.encryptor(sys.stdout.buffer, _context(a)) as envelope:
                shutil.copyfileobj(plaintext, envelope, _COPY)
        elif a.force:
            with cmkit.open(destination, "wb", keyring=keyring, context=_context(a)) as file:
                shutil.copyfileobj(plaintext, file, _COPY)
        else:
            with cmkit.open(destination, "xb", keyring=keyring, context=_context(a)) as file:
                shutil.copyfileobj(plaintext, file, _COPY)
    return 0


def _decrypt(a: argparse.Namespace) -> int:
    source, destination = _places(a, _without_suffix)
    keyring = _opening(a, a.workspace)
    if source is not None and destination is not None:
        keyring.decrypt_file(source, destination, _context(a), overwrite=a.force)
        return 0
    if source is not None:
        # Its length is authenticated before the first byte goes out.
        with cmkit.open(source, keyring=keyring, context=_context(a)) as plaintext:
            shutil.copyfileobj(plaintext, sys.stdout.buffer, _COPY)
        return 0
    if destination is not None:
        # Through decrypt_file, so that the file appears whole or not at all.
        keyring.decrypt_file("/dev/stdin", destination, _context(a), overwrite=a.force)
        return 0
    with keyring.decryptor(sys.stdin.buffer, _context(a)) as stream:
        shutil.copyfileobj(stream, sys.stdout.buffer, _COPY)
    return 0


def _inspect(a: argparse.Namespace) -> int:
    with _opened(None if a.file == "-" else a.file) as file:
        start = file.read(_MAX_HEADER)
    found = cmkit.inspect(start)
    size = os.path.getsize(a.file) if a.file != "-" and os.path.isfile(a.file) else None
    body = None if size is None else max(size - found.header_len, 0)
    plaintext = None if body is None else _plaintext_len(body)
    facts = {
        "file": "standard input" if a.file == "-" else a.file,
        "authenticated": False,
        "version": found.version,
        "suite": found.suite,
        "suite_name": found.suite_name,
        "dek_id": found.dek_id,
        "purpose": found.purpose,
        "workspace": found.workspace,
        "created": _time(found.created),
        "compact": found.is_compact,
        "header_length": found.header_len,
        "padding_length": found.padding_len,
        "body_length": body,
        "plaintext_length": plaintext,
        "recipients": [
            {
                "provider": r.provider,
                "key_id": r.key_id,
                "algorithm": r.algorithm,
                "wrapped_length": r.wrapped_len,
                "wrapped_at": _time(r.wrapped_at),
            }
            for r in found.recipients
        ],
    }
    if a.json:
        print(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            if name == "recipients":
                for r in found.recipients:
                    print(f"{'recipient':<16} {r.key_id}, {r.algorithm}, {_time(r.wrapped_at)}")
            elif name not in ("authenticated", "file"):
                print(f"{name.replace('_', ' '):<16} {'none' if value is None else value}")
        print("Nothing of this is authenticated: that takes a key.")
    if body is not None and plaintext is None:
        raise cmkit.TruncatedError(f"{a.file}: the envelope is cut short: its end is missing; get a whole copy of it")
    return 0


def _rewrap(a: argparse.Namespace) -> int:
    a.key = [*a.key, a.to]
    keyring = _opening(a, None)
    first = 0
    for path in a.files:
        try:
            keyring.rewrap_file(path, a.to, only=a.only, allow_other_vault=a.allow_other_vault)
            if not a.quiet:
                print(f"{path}: rewrapped by {a.to}")
        except (cmkit.CmkitError, OSError, ValueError) as error:
            _say(_sentence(error))
            first = first or exit_code(error)
    return first


def _key(a: argparse.Namespace) -> int:
    provider = _provider(a)
    match a.action:
        case "create":
            print(provider.create_key(a.name, a.type))
        case "rotate":
            print(provider.rotate(a.name))
        case "list":
            for info in provider.list():
                marks = [info.state, *(["newest"] * info.newest), *(["public half"] * info.public_only)]
                print(f"{info.id}  {info.key_type or 'unknown'}  {', '.join(marks)}")
        case "show":
            for info in provider.list(_local(a.id)):
                print(json.dumps(dataclasses.asdict(info)))
        case "disable":
            provider.disable(_local(a.id))
        case "enable":
            provider.enable(_local(a.id))
    return 0


def _rotate(a: argparse.Namespace) -> int:
    rotation = _following(a, a.key).rotation(keep_old=a.keep_old, dry_run=a.dry_run)
    outcomes: Counter[str] = Counter()
    codes: set[int] = set()
    until = 0

    def tell(path: str, result: cmkit.RotatedFile | Exception) -> None:
        nonlocal until
        if isinstance(result, Exception):
            outcomes["failed"] += 1
            codes.add(exit_code(result))
            _say(_sentence(result))
            line = {"file": path, "outcome": "failed", "error": str(result), "exit_code": exit_code(result)}
        else:
            outcomes[result.outcome] += 1
            until = max(until, result.old_kept_until or 0)
            if result.outcome in ("up_to_date", "not_ours"):
                return
            kept = None if result.old_kept_until is None else _time(result.old_kept_until)
            copied = None if result.written is None else result.written == "copied"
            line = {"file": path, "outcome": result.outcome, "old_kept_until": kept, "copied": copied}
        if a.json:
            print(json.dumps(line))
        elif not a.quiet and not isinstance(result, Exception):
            print(f"{path}: {'would be ' * a.dry_run}{result.outcome}")

    rotation.rotate_paths(a.paths, tell)
    names = ("added", "replaced", "finished", "waiting", "up_to_date", "not_ours", "failed")
    if a.json:
        summary = {
            "newest": [key.key_id for key in rotation.newest],
            "dry_run": a.dry_run,
            "envelopes": outcomes.total(),
            **{name: outcomes[name] for name in names},
            "old_kept_until": _time(until) if until else None,
        }
        print(json.dumps({"summary": summary}))
    elif not a.quiet:
        counts = [f"{outcomes[name]} {name.replace('_', ' ')}" for name in names if outcomes[name]]
        again = f"; run it again after {_time(until)}" if until else ""
        print(f"{outcomes.total()} envelopes: {', '.join(counts)}{again}" if counts else "no envelopes")
    return next((code for code in (*_WORST, *codes) if code in codes), 0)


def _census(a: argparse.Namespace) -> int:
    newest = None
    if a.safe_to_disable is None:
        keyring = cmkit.Keyring([], keys=[])
    else:
        # Before the census: a wrong key is to fail at once.
        keyring = _following(a, [a.safe_to_disable.rpartition("/")[0]])
        newest = keyring.rotation().newest[0]
    census = cmkit.Census(keyring)
    for path in a.paths:
        census.add_path(path)
    verdict = None
    if newest is not None:
        verdict = census.safe_to_disable(a.safe_to_disable, newest, poll_interval=a.poll_interval, dek_age=a.dek_age)
    if a.json:
        print(json.dumps(_census_facts(census, a.safe_to_disable, verdict), indent=2))
    else:
        for name, problem in census.unreadable:
            _say(f"{name}: {problem}")
        for use in census.versions:
            print(f"{use.key_id}  {use.headers} headers, {use.only_key} only key, {use.old_kept} old wraps")
        print(f"{census.headers} headers, {census.skipped} other files, {census.unreadable_count} unreadable")
        if verdict is not None:
            answer = "yes: {} may be disabled" if verdict else "no: {} had better stay enabled"
            print(answer.format(a.safe_to_disable), *verdict.reasons, sep="\n- ")
    is_fine = census.unreadable_count == 0 if verdict is None else bool(verdict)
    return 0 if is_fine else 1


def _census_facts(census: cmkit.Census, key_id: str | None, verdict: cmkit.Verdict | None) -> dict[str, object]:
    versions = []
    for use in census.versions:
        facts = dataclasses.asdict(use)
        versions.append({**facts, "oldest_wrap": _time(use.oldest_wrap), "newest_wrap": _time(use.newest_wrap)})
    return {
        "authenticated": False,
        "begun": _time(census.begun),
        "versions": versions,
        "headers": census.headers,
        "rows": census.rows,
        "compact": census.compact,
        "skipped": census.skipped,
        "links": census.links,
        "unreadable_count": census.unreadable_count,
        "unreadable": [{"name": name, "problem": problem} for name, problem in census.unreadable],
        "safe_to_disable": None
        if verdict is None
        else {"key_id": key_id, "safe": bool(verdict), "reasons": list(verdict.reasons)},
    }


def _doctor(a: argparse.Namespace) -> int:
    if any(not _is_remote(key) for key in a.keys):
        raise _Usage("`python -m cmkit doctor` is for keys in a vault; the `cmkit` program looks at local ones, too")
    reports = []
    for key in a.keys:
        (provider,) = _vaults(a, [key], [])
        reports.append(provider.doctor(key))
        if not a.json:
            print(f"{reports[-1]}\n")
    healthy = all(report.is_healthy for report in reports)
    if a.json:
        keys = [
            {
                "key": report.key_id,
                "identity": report.identity,
                "healthy": report.is_healthy,
                "checks": [{"check": row.name, "outcome": row.outcome, "detail": row.detail} for row in report.rows],
            }
            for report in reports
        ]
        print(json.dumps({"healthy": healthy, "keys": keys}, indent=2))
    return 0 if healthy else 1


def _provider(a: argparse.Namespace) -> cmkit.LocalKeyProvider:
    return cmkit.LocalKeyProvider(a.home)


def _is_remote(key: str) -> bool:
    return key.startswith("https:")


def _vaults(a: argparse.Namespace, wrapping: Sequence[str], opening: Sequence[str]) -> list[cmkit.KeyVaultProvider]:
    """The provider for keys in vaults, if there are any: those to wrap with, and those whose vaults it may ask to open what they wrapped."""
    keys = [key for key in wrapping if _is_remote(key)]
    hosts = [key.split("/")[2] for key in opening if _is_remote(key) and key.count("/") >= 2]
    hosts += _allowed_hosts(a)
    if not keys and not hosts:
        return []
    name = a.identity or _variable("CMKIT_IDENTITY") or "auto"
    if name not in _IDENTITIES:
        raise _Usage(f"CMKIT_IDENTITY is {name!r}; it can be {', '.join(_IDENTITIES)}")
    provider = cmkit.KeyVaultProvider(
        keys,
        name,  # type: ignore[arg-type]
        client_id=a.client_id or _variable("CMKIT_CLIENT_ID"),
        ca_file=a.ca_file or _variable("CMKIT_CA_FILE"),
        allow_hosts=hosts,
        allow_rsa_2048=a.allow_rsa_2048 or _switch("CMKIT_ALLOW_RSA_2048"),
        no_get=a.no_get or _switch("CMKIT_NO_GET"),
    )
    return [provider]


def _allowed_hosts(a: argparse.Namespace) -> list[str]:
    given: list[str] = a.allow_host or (_variable("CMKIT_ALLOW_HOSTS") or "").split(",")
    return [host.strip() for host in given if host.strip()]


def _variable(name: str) -> str | None:
    return os.environ.get(name) or None


def _switch(name: str) -> bool:
    value = (_variable(name) or "0").lower()
    if value not in ("1", "true", "yes", "on", "0", "false", "no", "off"):
        raise _Usage(f"{name} can be 1 or 0")
    return value in ("1", "true", "yes", "on")


def _audit(a: argparse.Namespace) -> str | None:
    path: str | None = a.audit or _variable("CMKIT_AUDIT")
    return path


def _encrypting(a: argparse.Namespace) -> cmkit.Keyring:
    vaults = _vaults(a, a.key, [])
    if not vaults:
        keys = None if set(a.key) <= {_DEFAULT_KEY} else a.key
        return cmkit.Keyring(_provider(a), keys=keys, workspace=a.workspace, audit=_audit(a))
    local = [] if all(map(_is_remote, a.key)) and a.key else [_provider(a)]
    return cmkit.Keyring([*local, *vaults], keys=a.key or [_DEFAULT_KEY], workspace=a.workspace, audit=_audit(a))


def _opening(a: argparse.Namespace, workspace: str | None) -> cmkit.Keyring:
    to: list[str] = [a.to] if hasattr(a, "to") else []
    vaults = _vaults(a, to, a.key)
    local: list[cmkit.LocalKeyProvider] = []
    try:
        local = [_provider(a)]
    except ValueError:
        # A node may have no home directory, and needs none for a vault's keys.
        if not vaults or not all(map(_is_remote, a.key)):
            raise
    allow: list[str | cmkit.AllowHost] = [_DEFAULT_KEY, *a.key, *map(cmkit.AllowHost, _allowed_hosts(a))]
    return cmkit.Keyring([*local, *vaults], keys=[], allow=allow, workspace=workspace, audit=_audit(a))


def _following(a: argparse.Namespace, keys: Sequence[str]) -> cmkit.Keyring:
    keys = keys or [_DEFAULT_KEY]
    local = [] if all(map(_is_remote, keys)) else [_provider(a)]
    return cmkit.Keyring([*local, *_vaults(a, keys, [])], keys=keys, audit=_audit(a))


def _seconds(text: str) -> float:
    """90s, 15m, 24h, 7d, or seconds."""
    found = re.fullmatch(r"([0-9]{1,9})([a-z]*)", text)
    if found is None or found[2] not in _UNITS:
        raise argparse.ArgumentTypeError("write it as 90s, 15m, 24h or 7d")
    return float(int(found[1]) * _UNITS[found[2]])


def _version(text: str) -> str:
    if not re.search(r"/[0-9a-f]{32}$", text):
        raise argparse.ArgumentTypeError(f"name the version too: {text}/VERSION")
    return text


def _local(text: str) -> str:
    return text if ":" in text else f"local:{text}"


def _context(a: argparse.Namespace) -> dict[str, str]:
    context: dict[str, str] = {}
    for pair in a.context:
        key, separator, value = pair.partition("=")
        if not separator:
            raise _Usage(f"--context {pair}: write it as KEY=VALUE")
        if key in context:
            raise _Usage(f"--context has the key {key!r} twice")
        context[key] = value
    return context


def _places(a: argparse.Namespace, name: _Namer) -> tuple[str | None, str | None]:
    """Input and output; None for a standard stream."""
    source = None if a.input in (None, "-") else a.input
    if source is not None and os.path.isdir(source):
        raise _Usage(f"{source} is a directory; name its files one by one, or pack it")
    if a.output == "-":
        destination = None
    elif a.output is not None:
        destination = a.output
    else:
        destination = None if source is None else name(source)
    if destination is not None and source is not None:
        with contextlib.suppress(OSError):
            if os.path.samefile(source, destination):
                raise _Usage(f"{source} is input and output at once; name another output with `-o`")
    return source, destination


def _without_suffix(source: str) -> str:
    if not source.endswith(_SUFFIX) or os.path.basename(source) == _SUFFIX:
        raise _Usage(f"{source} doesn't end in {_SUFFIX}, so there is no name for the output; name it with `-o`")
    return source[: -len(_SUFFIX)]


def _opened(path: str | None) -> contextlib.AbstractContextManager[BinaryIO]:
    return contextlib.nullcontext(sys.stdin.buffer) if path is None else open(path, "rb")


def _plaintext_len(body: int) -> int | None:
    """Bytes of plaintext in a body (docs/format.md, section 8); None: no body is that long."""
    chunks, last = divmod(body - 56, 16_400)
    return None if body < 56 or last < 16 else chunks * 16_384 + last - 16


def _time(seconds: int) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cmkit",
        description="Encrypts files and pipes under keys of your own.",
        epilog="Exit codes: 0 done; 2 wrong usage; 3 not authentic or damaged; 4 key missing, disabled, denied or not "
        "allowed; 5 key provider out of reach; 130 interrupted; 1 anything else.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"cmkit {cmkit.__version__}")
    home = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    home.add_argument("--home", metavar="DIR", default=argparse.SUPPRESS, help="key directory")
    parser.add_argument("--home", metavar="DIR", default=None, help="key directory")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    vault = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options = vault.add_argument_group("Azure Key Vault and Managed HSM")
    options.add_argument("--identity", choices=_IDENTITIES, help="as whom to sign in (CMKIT_IDENTITY; auto)")
    options.add_argument("--client-id", metavar="ID", help="of a user-assigned identity or an application (CMKIT_CLIENT_ID)")
    options.add_argument("--ca-file", metavar="PEM", help="further roots to trust (CMKIT_CA_FILE)")
    options.add_argument(
        "--allow-host", metavar="HOST", action="append", default=[], help="open what any key of this vault wrapped (CMKIT_ALLOW_HOSTS)"
    )
    options.add_argument("--allow-rsa-2048", action="store_true", help="take RSA keys of 2048 bits, too (CMKIT_ALLOW_RSA_2048)")
    options.add_argument("--no-get", action="store_true", help="don't look at the key itself (CMKIT_NO_GET)")
    audit = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    audit.add_argument("--audit", metavar="FILE", help="append a line of JSON for each call to a key provider (CMKIT_AUDIT)")

    for name, run, text in (
        ("encrypt", _encrypt, "encrypt a file or a pipe"),
        ("decrypt", _decrypt, "decrypt a file or a pipe"),
    ):
        command = commands.add_parser(name, parents=[home, vault, audit], help=text, allow_abbrev=False)
        meaning = "key to encrypt under (repeatable)" if name == "encrypt" else "also allow this key (repeatable)"
        command.add_argument("--key", metavar="ID", action="append", default=[], help=meaning)
        command.add_argument("--context", metavar="K=V", action="append", default=[], help="encryption context")
        command.add_argument("--workspace", metavar="W", help="workspace that the envelope belongs to")
        command.add_argument("--force", action="store_true", help="replace an existing output file")
        command.add_argument("-q", "--quiet", action="store_true", help="no progress bar (there is none here)")
        command.add_argument("-o", "--output", metavar="OUT", help='output file, "-" for standard output')
        command.add_argument("input", metavar="IN", nargs="?", help='input file, "-" for standard input')
        command.set_defaults(run=run)

    inspect = commands.add_parser("inspect", parents=[home], help="say what can be said without a key", allow_abbrev=False)
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.add_argument("file", metavar="FILE")
    inspect.set_defaults(run=_inspect)

    rewrap = commands.add_parser(
        "rewrap", parents=[home, vault, audit], help="wrap data keys of files with another key", allow_abbrev=False
    )
    rewrap.add_argument("--to", metavar="ID", required=True, help="key to wrap with from now on")
    rewrap.add_argument("--key", metavar="ID", action="append", default=[], help="also allow this key to unwrap")
    rewrap.add_argument("--only", action="store_true", help="drop every other recipient")
    rewrap.add_argument("--allow-other-vault", action="store_true", help="let data move from a vault's key to one outside of it")
    rewrap.add_argument("-q", "--quiet", action="store_true", help="no line for each file done")
    rewrap.add_argument("files", metavar="FILE", nargs="+")
    rewrap.set_defaults(run=_rewrap)

    rotate = commands.add_parser(
        "rotate", parents=[home, vault, audit], help="bring files to the newest versions of their keys", allow_abbrev=False
    )
    rotate.add_argument("--key", metavar="ID", action="append", default=[], help="key to follow (repeatable)")
    rotate.add_argument("--dry-run", action="store_true", help="only tell what would be done")
    rotate.add_argument(
        "--keep-old", metavar="DURATION", type=_seconds, default=86_400.0, help="how long to keep old wraps: 24h, 90m; 0: not at all"
    )
    rotate.add_argument("--json", action="store_true", help="print JSON")
    rotate.add_argument("-q", "--quiet", action="store_true", help="no line for each file done")
    rotate.add_argument("paths", metavar="PATH", nargs="+")
    rotate.set_defaults(run=_rotate)

    census = commands.add_parser(
        "census", parents=[home, vault, audit], help="count which key versions are still needed", allow_abbrev=False
    )
    census.add_argument("--safe-to-disable", metavar="KEYID", type=_version, help="say whether this version may be disabled")
    census.add_argument("--poll-interval", metavar="DURATION", type=_seconds, default=3600.0, help="until writers notice a new version")
    census.add_argument("--dek-age", metavar="DURATION", type=_seconds, default=3600.0, help="how old data keys get")
    census.add_argument("--json", action="store_true", help="print JSON")
    census.add_argument("-q", "--quiet", action="store_true", help="no progress bar (there is none here)")
    census.add_argument("paths", metavar="PATH", nargs="+")
    census.set_defaults(run=_census)

    doctor = commands.add_parser("doctor", parents=[home, vault], help="try whether keys can be used", allow_abbrev=False)
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.add_argument("keys", metavar="KEYID", nargs="+")
    doctor.set_defaults(run=_doctor)

    key = commands.add_parser("key", parents=[home], help="make, list, rotate, disable and enable keys", allow_abbrev=False)
    key.set_defaults(run=_key)
    actions = key.add_subparsers(required=True, dest="action", metavar="ACTION")
    create = actions.add_parser("create", parents=[home], allow_abbrev=False)
    create.add_argument("name", metavar="NAME")
    create.add_argument("--type", choices=("oct", "rsa-3072", "rsa-4096"), default="oct")
    actions.add_parser("list", parents=[home], allow_abbrev=False)
    actions.add_parser("rotate", parents=[home], allow_abbrev=False).add_argument("name", metavar="NAME")
    for name in ("show", "disable", "enable"):
        actions.add_parser(name, parents=[home], allow_abbrev=False).add_argument("id", metavar="ID")
    return parser


if __name__ == "__main__":
    sys.exit(main())
