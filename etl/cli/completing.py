"""`ftmirror completion`: what makes the shell complete commands, options and their words."""

from __future__ import annotations

import click

from etl.cli import output
from etl.cli.options import Context, command

#: The variable with which the shell's script asks for words; click answers before all else.
VARIABLE = "_FTMIRROR_COMPLETE"

#: Where click's script for zsh asks whether it is called or read; it takes every call but the first
#: for a reading, and so completes nothing the second time. What stands in its place knows by name.
_ZSH_CALL = "if [[ $zsh_eval_context"
_ZSH_END = """\
if [[ $funcstack[1] == _ftmirror ]]; then
    # a file in fpath, which is called
    _ftmirror_completion "$@"
else
    # eval or source: to be called later
    compdef _ftmirror_completion ftmirror
fi
"""


@command(
    "completion",
    example="""
    ftmirror completion bash >> ~/.bashrc
    ftmirror completion zsh > ~/.zfunc/_ftmirror
    ftmirror completion fish > ~/.config/fish/completions/ftmirror.fish
    """,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL")
def completion(_context: Context, *, shell: str) -> None:
    """Print what makes your shell complete.

    SHELL is bash (4.4 or newer), zsh or fish. Put the script where the examples have it, and open a
    new shell. For zsh, make the directory, and let ~/.zshrc say `fpath+=~/.zfunc` before
    `autoload -Uz compinit; compinit`. It completes commands, options and their words, the sources
    of your configuration, and files.
    """
    from click.shell_completion import get_completion_class

    from etl.cli.group import ftmirror

    made = get_completion_class(shell)
    if made is None:
        raise TypeError(f"click knows no {shell}")
    words = made(ftmirror, {}, "ftmirror", VARIABLE)
    # Not `source()`, which for bash runs a bash only to ask for its version.
    script = (words.source_template % words.source_vars()).strip()
    output.data(script.partition(_ZSH_CALL)[0] + _ZSH_END if shell == "zsh" else script)
