# Programs that want to go out, and a person who answers for it.

import json
import subprocess

BUNTIME, FOLDER = sys.argv[1:3]
QUESTION = r"may the program connect to this\?\r\n  ([^\r\n]*)\r\n"
ANSWER = r"\[deny\]: "
BOTH = "45.80.0.80 or 2a0e:aaaa::80"

# Connects, and says what came of it.
TRY = """
import os, socket, sys, threading, time
def attempt(host, port):
    try:
        with socket.create_connection((host, port), 60) as end:
            print(f'<{host} {port}: {end.recv(6).decode().strip()}>')
    except OSError as error:
        print(f'<{host} {port}: {type(error).__name__}>')
"""
RESET = "ConnectionResetError"


def run(code, *flags, policy="ask.json"):
    words = ["/usr/bin/env", "TERM=xterm", BUNTIME, "run", "--policy", f"{FOLDER}/{policy}", *flags]
    return Terminal([*words, "-c", TRY + code], 50, 200)


def asked(terminal, place, *answers):
    """Waits for this question, and answers it."""
    found = terminal.expect(QUESTION).group(1)
    if found != place:
        raise SystemExit(f"asked was {found!r} and not {place!r}")
    for answer in answers:
        terminal.expect(ANSWER)
        terminal.type(answer + "\n")


def ended(terminal, code=0):
    if (found := terminal.wait()) != code:
        raise SystemExit(f"it ended with {found}; shown: {terminal.seen!r}")


def events(name):
    with open(f"{FOLDER}/{name}") as file:
        return [json.loads(line) for line in file]


def once():
    """The answer is for what waits, and is in the log before anything leaves."""
    terminal = run("for _ in 1, 2: attempt('allowed.example', 7)", "--events", f"{FOLDER}/once")
    asked(terminal, f"allowed.example, port 7, at {BOTH}", "once")
    terminal.expect("<allowed.example 7: hello>")
    asked(terminal, f"allowed.example, port 7, at {BOTH}", "deny")
    terminal.expect(f"<allowed.example 7: {RESET}>")
    ended(terminal)
    log = [event for event in events("once") if event.get("origin", "egress") == "egress"]
    log = [event for event in log if event.get("operation") != "resolve"]
    kinds = [event["type"] for event in log]
    told = [kind for kind in kinds if kind in ("asked", "answered", "decision", "connection-begin")]
    if told != ["asked", "answered", "decision", "connection-begin", "asked", "answered", "decision"]:
        raise SystemExit(f"the log says {told}")
    question = next(event for event in log if event["type"] == "asked")
    if (question["net"]["host"], question["net"]["port"]) != ("allowed.example", 7):
        raise SystemExit(f"the log says {question}")
    decided = [event for event in log if event["type"] == "decision"]
    told = [(event["verdict"], event["answer"], event["asked"]) for event in decided]
    if told != [("ask", "allowed", 1), ("ask", "denied", 2)]:
        raise SystemExit(f"the log says {told}")


def session():
    """It is for the same name, addresses and port, and for no other."""
    terminal = run("for port in 7, 7, 80: attempt('allowed.example', port)\n"
                   "attempt('six.example', 7)\nattempt('45.80.0.81', 7)")
    asked(terminal, f"allowed.example, port 7, at {BOTH}", "path", "session")
    for _ in range(2):
        terminal.expect("<allowed.example 7: hello>")
    asked(terminal, f"allowed.example, port 80, at {BOTH}", "deny")
    terminal.expect(f"<allowed.example 80: {RESET}>")
    asked(terminal, "six.example, port 7, at 2a0e:aaaa::80", "")
    terminal.expect(f"<six.example 7: {RESET}>")
    asked(terminal, "45.80.0.81, port 7", "never")
    terminal.expect(f"<45.80.0.81 7: {RESET}>")
    ended(terminal)


def never():
    terminal = run("for name in 'allowed', 'six': attempt(name + '.example', 7)")
    asked(terminal, f"allowed.example, port 7, at {BOTH}", "never")
    terminal.expect(f"<six.example 7: {RESET}>")
    ended(terminal)


def together():
    """Several that are alike are asked about once, and others go on meanwhile."""
    terminal = run("waiting = [threading.Thread(target=attempt, args=('allowed.example', 7)) for _ in range(5)]\n"
                   "for one in waiting: one.start()\n"
                   "with socket.create_connection(('www.allowed.example', 7), 60) as end: end.recv(6)\n"
                   "went_on = all(one.is_alive() for one in waiting)\n"
                   "for one in waiting: one.join()\n"
                   "print('went on', went_on)\n", "--events", f"{FOLDER}/together")
    found = terminal.expect(QUESTION).group(1)
    terminal.expect(ANSWER)
    time.sleep(2)
    terminal.type("once\n")
    for _ in range(5):
        terminal.expect("<allowed.example 7: hello>")
    terminal.expect("went on True")
    ended(terminal)
    if found != f"allowed.example, port 7, at {BOTH}" or sum(one["type"] == "asked" for one in events("together")) != 1:
        raise SystemExit(f"asked was {found!r}")


def proxied():
    """The proxy's connections are asked about as others are."""
    terminal = run("import urllib.request\n"
                   "for _ in 1, 2:\n"
                   "    try: print('<', urllib.request.urlopen('http://allowed.example/x', timeout=60).status, '>')\n"
                   "    except OSError as error: print('<', error.code, '>')\n")
    for answer, status in ("once", 200), ("deny", 403):
        asked(terminal, f"allowed.example, port 80, at {BOTH}", answer)
        terminal.expect(f"< {status} >")
    ended(terminal)


REQUEST = r"may the program request this\?\r\n  ([^\r\n]*)\r\n"


def requests():
    """An answer is for one method, path and query; what needs none goes on."""
    code = ("import http.client\n"
            "web = http.client.HTTPConnection('allowed.example', 80, timeout=60)\n"
            "for method, path in ('GET', '/a'), ('POST', '/b?c'), ('POST', '/b?c'), ('POST', '/d'):\n"
            "    web.request(method, path)\n"
            "    answer = web.getresponse()\n"
            "    answer.read()\n"
            "    print('<', method, path, answer.status, '>')\n")
    terminal = run(code, "--events", f"{FOLDER}/requests", policy="requests.json")
    terminal.expect("< GET /a 200 >")
    for target, answer, told in [("/b?c", "session", ["/b?c 200"] * 2), ("/d", "deny", ["/d 403"])]:
        found = terminal.expect(REQUEST).group(1)
        if found != f"POST {target}, to allowed.example, port 80":
            raise SystemExit(f"asked was {found!r}")
        terminal.expect(ANSWER)
        terminal.type(answer + "\n")
        for one in told:
            terminal.expect(re.escape(f"< POST {one} >"))
    ended(terminal)
    log = [event for event in events("requests") if event["type"] == "decision" and event["operation"] == "request"]
    told = [(event["target"], event["answer"]) for event in log]
    names = [("GET", "/a", "allowed"), ("POST", "/b", "allowed"), ("POST", "/b", "allowed"), ("POST", "/d", "denied")]
    if told != [(f"{method} allowed.example:80{path}", answer) for method, path, answer in names]:
        raise SystemExit(f"the log says {told}")


def read_from_now_on():
    """A connection that nobody reads ends where a policy comes that reads it."""
    name = f"read-{os.getpid()}"
    terminal = run("with socket.create_connection(('allowed.example', 7), 60) as end:\n"
                   "    print('<', end.recv(6).decode().strip(), '>')\n"
                   "    try: print('<', end.recv(6), '>')\n"
                   "    except ConnectionResetError: print('< over >')\n", "--name", name, policy="allow.json")
    terminal.expect("< hello >")
    command = [BUNTIME, "policy", "reload", name, f"{FOLDER}/requests.json"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    terminal.expect("< over >")
    ended(terminal)


def datagrams():
    """What is said on a flow waits with it, and an answer about UDP is for nothing else."""
    terminal = run("where = socket.getaddrinfo('allowed.example', 7, socket.AF_INET)[0][4]\n"
                   "for said in b'first', b'second':\n"
                   "    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                   "    end.settimeout(60)\n"
                   "    end.connect(where)\n"
                   "    end.send(said)\n"
                   "    print('<', end.recv(9).decode(), '>')\n"
                   "attempt('allowed.example', 7)")
    asked(terminal, f"allowed.example, UDP port 7, at {BOTH}", "session")
    terminal.expect("< first >")
    terminal.expect("< second >")
    asked(terminal, f"allowed.example, port 7, at {BOTH}", "deny")
    terminal.expect(f"<allowed.example 7: {RESET}>")
    ended(terminal)
    terminal = run("end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                   "end.settimeout(60)\n"
                   "end.connect(('45.80.0.81', 7))\n"
                   "end.send(b'first')\n"
                   "try: end.recv(9)\n"
                   "except OSError as error: print('<', error.errno, '>')")
    asked(terminal, "45.80.0.81, UDP port 7", "deny")
    terminal.expect("< 113 >")
    ended(terminal)


def unanswered():
    """Nobody in time, and nobody at all."""
    terminal = run("attempt('allowed.example', 7)", policy="short.json")
    terminal.expect(QUESTION)
    terminal.expect(f"<allowed.example 7: {RESET}>")
    ended(terminal)
    terminal = run("attempt('allowed.example', 7)", "--ask", "never")
    terminal.expect(f"<allowed.example 7: {RESET}>")
    ended(terminal)


def reloaded():
    """A question that waits is decided by the policy that has come."""
    for policy, result in ("allow.json", "hello"), ("deny.json", RESET):
        name = f"asked-{os.getpid()}"
        terminal = run("attempt('allowed.example', 7)", "--name", name)
        terminal.expect(ANSWER)
        command = [BUNTIME, "policy", "reload", name, f"{FOLDER}/{policy}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        terminal.expect(f"<allowed.example 7: {result}>")
        ended(terminal)


for scene in once, session, never, together, proxied, requests, read_from_now_on, datagrams, unanswered, reloaded:
    scene()
print("all asked")
