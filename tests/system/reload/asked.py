

# What is asked about while another policy comes: who answers the former question answers nothing.

BINARY, POLICY, READ = sys.argv[1:4]
ANSWER = r"answer \[deny\]: "

INSIDE = """
import os, sys
try:
    print('<' + open(sys.argv[1]).read() + '>')
except OSError as error:
    print(f'<{error.errno}>')
"""


def reload(*policies):
    command = [BINARY, "policy", "reload", "asked", *policies]
    done = os.spawnv(os.P_WAIT, BINARY, command)
    if done != 0:
        raise SystemExit(f"{policies} were not gone over to: {done}")


def asked(name, shown, answer=None):
    command = ["/usr/bin/env", "TERM=xterm", BINARY, "run", "--name", "asked", "--policy", POLICY]
    command += ["--", "/usr/bin/python3", "-I", "-c", INSIDE, READ]
    terminal = Terminal(command, 50, 200)
    terminal.expect("may the program read this")
    terminal.expect(ANSWER)
    reload(name)
    if answer is not None:
        terminal.expect("may the program read this")
        terminal.expect(ANSWER)
        terminal.type(answer)
    terminal.expect(shown)
    if (found := terminal.wait()) != 0:
        raise SystemExit(f"it ended with {found}; shown: {terminal.seen!r}")


denied, allowed, other = sys.argv[4:7]
asked(denied, "<13>")
asked(allowed, "<secret>")
asked(other, "<secret>", "once\n")
asked(other, "<13>", "deny\n")
print("all asked again")
