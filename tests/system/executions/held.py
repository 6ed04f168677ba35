# Answers what Buntime asks about executions, at the terminal, while programs inside do something else.

FOLDER = sys.argv[2]
ANSWER = r"answer \[deny\]: "

INSIDE = r"""
import ctypes, os, signal, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)

def until(name):
    while not os.path.exists(f'{FOLDER}/w/{name}'):
        time.sleep(0.01)

def tell(name, text):
    with open(f'{FOLDER}/w/.{name}', 'w') as file:
        file.write(str(text))
    os.rename(f'{FOLDER}/w/.{name}', f'{FOLDER}/w/{name}')

def execute(path):
    argv, environment = (ctypes.c_char_p * 2)(b'program', None), (ctypes.c_char_p * 1)(None)
    libc.syscall(ctypes.c_long(59), path, argv, environment)
    os._exit(ctypes.get_errno())

def held(meanwhile):
    '''Executes what is asked about in a second thread of a process of its own.'''
    process = os.fork()
    if process == 0:
        path = ctypes.create_string_buffer(f'{FOLDER}/good.bin'.encode())
        threading.Thread(target=execute, args=(path,)).start()
        meanwhile(path)
        time.sleep(600)
    return process

def ended(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

def run(program):
    process = os.fork()
    if process == 0:
        execute(f'{FOLDER}/{program}'.encode())
    return ended(process)
"""

HELD = "print(f'<{ended(held(lambda path: None))}>')"

REWRITTEN = """
def rewrite(path):
    until('go')
    ctypes.memmove(path, f'{FOLDER}/evil.bin'.encode(), len(path) - 1)
    tell('done', '')
print(f'<{ended(held(rewrite))}>')
"""


KILLED = """
process = held(lambda path: None)
until('go')
os.kill(process, signal.SIGKILL)
tell('done', ended(process))
"""

OTHERS = """
process = held(lambda path: None)
until('go')
tell('done', [run('fine.bin') for _ in range(40)].count(0))
print(f'<{ended(process)}>')
"""


def run(code):
    for name in os.listdir(f"{FOLDER}/w"):
        os.unlink(f"{FOLDER}/w/{name}")
    command = ["/usr/bin/env", "TERM=xterm", sys.argv[1], "run", "--policy", f"{FOLDER}/ask.json", "--"]
    return Terminal([*command, "/usr/bin/python3", "-I", "-c", f"FOLDER = {FOLDER!r}\n{INSIDE}{code}"], 50, 200)


def meanwhile(terminal):
    """Lets the program do the rest while the question stands, and says what came of it."""
    with open(f"{FOLDER}/w/go", "w"):
        pass
    end = time.monotonic() + PATIENCE
    while not os.path.exists(f"{FOLDER}/w/done"):
        if time.monotonic() > end:
            raise SystemExit(f"nothing goes on; shown: {terminal.seen!r}")
        terminal.read(0.05)
    with open(f"{FOLDER}/w/done") as file:
        return file.read()


def asked(code, answer, shown, done=None):
    terminal = run(code)
    terminal.expect(r'may the program run the program this\?|may the program run [a-z ]*this\?')
    terminal.expect(r'\n  ("[^\n]*")\r\n')
    terminal.expect(ANSWER)
    if done is not None and (found := meanwhile(terminal)) != done:
        raise SystemExit(f"meanwhile came {found!r} of {code!r}")
    terminal.type(answer)
    if shown is not None:
        terminal.expect(shown)
    if (found := terminal.wait()) != 0:
        raise SystemExit(f"it ended with {found}; shown: {terminal.seen!r}")


asked(HELD, "once\n", "<0>")
asked(HELD, "deny\n", "<13>")
asked(REWRITTEN, "once\n", "<-9>", done="")
asked(KILLED, "once\n", None, done="-9")
asked(OTHERS, "deny\n", "<13>", done="40")
print("all held")
