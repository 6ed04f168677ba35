# Programs that ask, and a person who answers.

FOLDER = sys.argv[2]
QUESTION = r"may the program ([a-z ]+) this\?"
ANSWER = r"answer \[deny\]: "


def run(code, *flags, policy="ask.json", command=None):
    command = command or ["/usr/bin/env", "TERM=xterm", sys.argv[1], "run", "--policy", f"{FOLDER}/{policy}", *flags]
    return Terminal([*command, "-c", f"FOLDER = {FOLDER!r}\n{code}"], 50, 200)


def asked(terminal, operation, path, answer):
    """Waits for this question, and answers it."""
    found = terminal.expect(QUESTION)
    target = terminal.expect(r'\n  ("[^\n]*")\r\n').group(1)
    if (found.group(1), target) != (operation, f'"{FOLDER}/{path}"'):
        raise SystemExit(f"asked was {found.group(1)!r} {target!r}")
    terminal.expect(ANSWER)
    terminal.type(answer)


def ended(terminal, code):
    if (found := terminal.wait()) != code:
        raise SystemExit(f"it ended with {found}; shown: {terminal.seen!r}")
    if termios.tcgetattr(terminal.master) != terminal.before:
        raise SystemExit("the terminal was left in another mode")


# Opens each name that it is given, and says what came of it.
TRY = """
import os
def attempt(name, mode='r'):
    try:
        with open(f'{FOLDER}/{name}', mode) as file:
            print(f'<{name} {mode}: {file.read() if mode == "r" else "open"}>')
    except OSError as error:
        print(f'<{name} {mode}: {error.strerror}>')
"""
