"""`python -m cmkit`: the commands encrypt, decrypt, inspect, rewrap and key, with the flags and exit codes of the `cmkit` program."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import BinaryIO, TypeAlias

import cmkit

_SUFFIX = ".cmk"
_DEFAULT_KEY = "local:default"
_MAX_HEADER = 65_536
_COPY = 1 << 20

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
    keys = None if set(a.key) <= {_DEFAULT_KEY} else a.key
    keyring = cmkit.Keyring(_provider(a), keys=keys, workspace=a.workspace)
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
            keyring.rewrap_file(path, a.to, only=a.only)
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


def _provider(a: argparse.Namespace) -> cmkit.LocalKeyProvider:
    return cmkit.LocalKeyProvider(a.home)


def _opening(a: argparse.Namespace, workspace: str | None) -> cmkit.Keyring:
    return cmkit.Keyring(_provider(a), keys=[], allow=[_DEFAULT_KEY, *a.key], workspace=workspace)


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

    for name, run, text in (
        ("encrypt", _encrypt, "encrypt a file or a pipe"),
        ("decrypt", _decrypt, "decrypt a file or a pipe"),
    ):
        command = commands.add_parser(name, parents=[home], help=text, allow_abbrev=False)
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

    rewrap = commands.add_parser("rewrap", parents=[home], help="wrap data keys of files with another key", allow_abbrev=False)
    rewrap.add_argument("--to", metavar="ID", required=True, help="key to wrap with from now on")
    rewrap.add_argument("--key", metavar="ID", action="append", default=[], help="also allow this key to unwrap")
    rewrap.add_argument("--only", action="store_true", help="drop every other recipient")
    rewrap.add_argument("-q", "--quiet", action="store_true", help="no line for each file done")
    rewrap.add_argument("files", metavar="FILE", nargs="+")
    rewrap.set_defaults(run=_rewrap)

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
