"""The `ratemill` command: its commands, its exit codes, and the promise that an error is one sentence.

Exit codes: 0 done, 1 found problems or could not go on, 2 wrong usage. `--debug`, anywhere, shows the traceback too.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence

import typer
from typer.exceptions import TyperException

from dataflows.errors import RatemillError
from ops.output import remark
from schemas.problems import CatalogErrors

DONE, PROBLEMS, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

COMMANDS = tuple(
    "demo check rate settle invoice run sql explain verify whatif"
    " backfill reinject topics publish produce notifications settings".split()
)

# Options that take every word up to the next option: `--events a.ndjson b.ndjson`.
_MANY_VALUES = ("--events",)

_HELP = "Rates usage events exactly: from metering events to a ledger of line items that adds up to the last digit."
_EPILOG = (
    "Start with `ratemill demo`; every command has `--help` with examples."
    " Exit codes: 0 done, 1 found problems, 2 wrong usage."
)


def build(commands: Sequence[str]) -> typer.Typer:
    """The command line with these commands; the module of another one is not even loaded."""
    app = typer.Typer(
        name="ratemill",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        help=_HELP,
        epilog=_EPILOG,
    )
    app.callback()(_options)
    for name in commands:
        command = importlib.import_module(f"ops.commands.{name}")
        if hasattr(command, "app"):
            app.add_typer(command.app, name=name, epilog=command.EXAMPLES)
        else:
            app.command(name, epilog=command.EXAMPLES)(command.run)
    return app


def _options(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error as well.")) -> None:
    # `main` has taken the option out of the arguments already, so that it may stand anywhere.
    del debug


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    code = run([argument for argument in given if argument != "--debug"], debug)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
    sys.exit(code)


def run(arguments: Sequence[str], debug: bool = False) -> int:
    """The exit code of one command; whatever goes wrong is said in one sentence on standard error."""
    try:
        app = build([name for name in COMMANDS if name in arguments[:1]] or COMMANDS)
        code = app(args=list(_spread(arguments)), prog_name="ratemill", standalone_mode=False) or DONE
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        return code
    except (BrokenPipeError, SystemExit):
        # The reader has gone; rich tells of it by leaving.
        _forget_output()
        return DONE
    except BaseException as error:
        if debug:
            traceback.print_exc()
        sentence, code = _told(error)
        if sentence:
            remark(_sentence(sentence))
        return code


def _told(error: BaseException) -> tuple[str, int]:
    """What to say about an error, and the exit code."""
    match error:
        case TyperException():
            return error.format_message(), error.exit_code
        case typer.Exit():
            return "", error.exit_code
        case KeyboardInterrupt() | typer.Abort():
            return "Stopped. The same command goes on where this one was stopped.", INTERRUPTED
        case CatalogErrors(problems=problems):
            more = f" (and {len(problems) - 1} more: see `ratemill check`)" if len(problems) > 1 else ""
            return f"The catalog cannot be used: {problems[0]}{more}", PROBLEMS
        case RatemillError():
            return str(error), PROBLEMS
        case OSError(filename=str(name), strerror=str(reason)):
            return f"Cannot go on with {name}: {reason.lower()}", PROBLEMS
        case MemoryError():
            return "Out of memory. The same command goes on where this one was stopped.", PROBLEMS
        case _:
            return f"This is a mistake of Ratemill's own: {_innermost(error)}; --debug shows where", PROBLEMS


def _innermost(error: BaseException) -> str:
    """The error that began it all, without the lines that follow its first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _sentence(message: str) -> str:
    """A message with a capital, where it begins with a word, and a full stop."""
    text = message.strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _spread(arguments: Sequence[str]) -> Iterator[str]:
    """Arguments in which an option of many values is repeated before each of them."""
    option = None
    fresh = False
    for argument in arguments:
        if argument in _MANY_VALUES:
            option, fresh = argument, True
        elif argument.startswith("-"):
            option = None
        elif option is not None and not fresh:
            yield option
        else:
            fresh = False
        yield argument


def _forget_output() -> None:
    """The reader of a pipe has left: nothing more is written, and the interpreter must not complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
