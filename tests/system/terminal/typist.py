# Types into a sandboxed shell as a person would, and looks at what the terminal shows.

PROMPT = "READY> "
# It says itself that it has begun: it is in the foreground by then, and a key that is meant for it does
# not reach the shell while that is about to start it.
SLEEP = "sh -c 'echo started; exec sleep 1000'\n"


def shell(*flags):
    command = [sys.argv[1], "run", "--allow-run", "--env", f"PS1={PROMPT}", "--env", "TERM=dumb", *flags,
               "--", "/bin/bash", "--norc", "--noprofile", "-i"]
    terminal = Terminal(command, 33, 101)
    terminal.expect(PROMPT)
    return terminal


def window_size(terminal):
    terminal.type("stty size\n")
    terminal.expect(r"33 101\r\n")
    terminal.expect(PROMPT)
    terminal.resize(44, 77)
    # The news of it travels by signal; ask until it has arrived.
    for _ in range(PATIENCE * 5):
        terminal.type("stty size\n")
        if terminal.expect(r"(\d+ \d+)\r\n").group(1) == "44 77":
            terminal.expect(PROMPT)
            return
        terminal.expect(PROMPT)
        time.sleep(0.2)
    raise SystemExit("the new size never arrived")


def interrupt(terminal):
    terminal.type(SLEEP)
    terminal.expect(r"\nstarted\r\n")
    terminal.press("\x03", PROMPT)
    terminal.type("echo status $?\n")
    terminal.expect(r"\nstatus 130\r\n")
    terminal.expect(PROMPT)


def job_control(terminal):
    terminal.type(SLEEP)
    terminal.expect(r"\nstarted\r\n")
    terminal.press("\x1a", r"Stopped\s+sh -c")
    terminal.expect(PROMPT)
    terminal.type("bg\n")
    terminal.expect(PROMPT)
    terminal.type("jobs\n")
    terminal.expect(r"Running\s+sh -c")
    terminal.expect(PROMPT)
    terminal.type("fg\n")
    terminal.expect(r"\nsh -c [^\r]*\r\n")
    terminal.press("\x03", PROMPT)


def main():
    terminal = shell()
    terminal.type("tty -s && echo it is a terminal\n")
    terminal.expect(r"\nit is a terminal\r\n")
    terminal.expect(PROMPT)
    window_size(terminal)
    interrupt(terminal)
    job_control(terminal)
    terminal.type("\x04")
    code = terminal.wait()
    if code != 130 and code != 0:
        raise SystemExit(f"Ctrl-D ended it with {code}; shown: {terminal.seen!r}")
    if termios.tcgetattr(terminal.master) != terminal.before:
        raise SystemExit("the terminal was left in another mode")
    terminal = shell()
    terminal.type("exit 7\n")
    if (code := terminal.wait()) != 7:
        raise SystemExit(f"exit 7 gave {code}")
    print("all seen")


main()
