# Answers what Buntime asks, at the terminal of a run and of one whose streams are pipes.


def each_answer_is_for_what_was_shown():
    terminal = run(TRY + """
for name in ['asked/a', 'asked/b', 'asked/a', 'asked/folder/c', 'asked/folder/c', 'asked/folders', 'asked/a', 'asked/b']:
    attempt(name)
attempt('asked/a', 'w')
""")
    asked(terminal, "read", "asked/a", "once\n")
    terminal.expect("<asked/a r: A>")
    asked(terminal, "read", "asked/b", "deny\n")
    terminal.expect("<asked/b r: Permission denied>")
    asked(terminal, "read", "asked/a", "\n")
    terminal.expect("<asked/a r: Permission denied>")
    asked(terminal, "read", "asked/folder/c", f"path {FOLDER}/asked/folder\n")
    terminal.expect("<asked/folder/c r: C>")
    terminal.expect("<asked/folder/c r: C>")
    asked(terminal, "read", "asked/folders", "session\n")
    terminal.expect("<asked/folders r: D>")
    terminal.expect("<asked/a r: A>")
    terminal.expect("<asked/b r: B>")
    asked(terminal, "create or write", "asked/a", "never\n")
    terminal.expect("<asked/a w: Permission denied>")
    terminal.expect(r"rule fs\[1\] of [^ ]*ask.json asked: 6 allowed, 3 denied")
    ended(terminal, 0)


def typed_before_is_no_answer():
    # Nobody reads here what is typed, so all of it is still there when the question comes.
    command = ["/bin/sh", "-c", '"$0" "$@" < /dev/null', sys.argv[1], "run", "--policy", f"{FOLDER}/ask.json"]
    terminal = run(TRY + """
import time
print('READY', flush=True)
while not os.path.exists(f'{FOLDER}/go'): time.sleep(0.01)
attempt('asked/a')
""", command=command)
    terminal.expect("READY")
    terminal.type("session\n")
    terminal.type("session\n")
    with open(f"{FOLDER}/go", "w"):
        pass
    asked(terminal, "read", "asked/a", "deny\n")
    terminal.expect("<asked/a r: Permission denied>")
    ended(terminal, 0)


def many_are_asked_as_one_and_a_flood_ends_with_a_word():
    terminal = run(TRY + """
import threading
def at_once(names, mode):
    threads = [threading.Thread(target=attempt, args=(name, mode)) for name in names]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
at_once(['asked/a'] * 40, 'r')
print('<between>')
at_once([f'asked/folder/{number}' for number in range(40)], 'w')
""")
    asked(terminal, "read", "asked/a", f"path {FOLDER}/asked/a\n")
    same = terminal.expect("<between>").string
    if same.count("<asked/a r: A>") != 40 or re.search(QUESTION, same):
        raise SystemExit(f"forty threads were shown {same!r}")
    found = terminal.expect(QUESTION)
    before = found.string[:found.end()]
    terminal.expect(ANSWER)
    terminal.type("never\n")
    rest = terminal.expect("asked: 40 allowed, 40 denied").string
    if (before + rest).count("w: Permission denied>") != 40 or re.search(QUESTION, rest):
        raise SystemExit(f"forty others were shown {before!r} and {rest!r}")
    ended(terminal, 0)


def nothing_of_the_program_is_shown_meanwhile():
    terminal = run(TRY + """
import threading, time
def noise():
    while True:
        print('NOISE', flush=True)
        time.sleep(0.001)
threading.Thread(target=noise, daemon=True).start()
time.sleep(0.2)
attempt('asked/a')
# The thread may hold what the interpreter's own end writes with.
print(end='', flush=True)
os._exit(0)
""")
    terminal.expect("NOISE")
    terminal.expect("buntime: may the program read this")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        terminal.read(0.1)
    if "NOISE" in terminal.seen:
        raise SystemExit(f"the program wrote into the question: {terminal.seen!r}")
    terminal.expect(ANSWER)
    terminal.type("once\n")
    terminal.expect("<asked/a r: A>")
    ended(terminal, 0)


def a_name_cannot_steer_the_terminal():
    terminal = run(TRY + r"""
attempt('asked/\x1b[2K\x1b]0;t\x07\r\n  answer [deny]: once\n\u202etxt.exe', 'w')
""")
    terminal.expect(QUESTION.replace("([a-z ]+)", "create or write"))
    shown = terminal.expect(r'\n  "[^"\n]*"\r\n').group(0)
    terminal.expect(ANSWER)
    terminal.type("deny\n")
    if re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\u202e]", shown) or r"\u{1b}[2K\u{1b}]0;t\u{7}\u{d}\u{a}" not in shown:
        raise SystemExit(f"the name was shown as {shown!r}")
    terminal.expect("Permission denied>")
    ended(terminal, 0)


def without_an_answer_it_is_a_no():
    terminal = run(TRY + "attempt('asked/a')", policy="short.json")
    terminal.expect(ANSWER)
    terminal.expect("denied: nobody answered in time")
    terminal.expect("<asked/a r: Permission denied>")
    ended(terminal, 0)


def an_interrupt_is_a_no_and_reaches_the_program():
    terminal = run(TRY + "attempt('asked/a')\nimport time; time.sleep(600)")
    terminal.expect(ANSWER)
    terminal.type("\x03")
    terminal.expect("denied: a signal came in its place")
    terminal.expect("KeyboardInterrupt")
    ended(terminal, 130)


def the_streams_need_not_be_the_terminal():
    script = f'"$0" "$@" < /dev/null | cat > {FOLDER}/written'
    command = ["/bin/sh", "-c", script, sys.argv[1], "run", "--policy", f"{FOLDER}/ask.json"]
    terminal = run(TRY + "attempt('asked/a')", command=command)
    asked(terminal, "read", "asked/a", "once\n")
    ended(terminal, 0)
    with open(f"{FOLDER}/written") as file:
        if (written := file.read()) != "<asked/a r: A>\n":
            raise SystemExit(f"the program wrote {written!r}")


def nobody_is_asked_where_that_was_said():
    terminal = run(TRY + "attempt('asked/a')", "--ask", "never")
    shown = terminal.expect("asked: 0 allowed, 1 denied").string
    for words in ["<asked/a r: Permission denied>", "nobody is asked, as --ask=never says"]:
        if words not in shown:
            raise SystemExit(f"{words!r} was not shown, but {shown!r}")
    ended(terminal, 0)


def main():
    each_answer_is_for_what_was_shown()
    typed_before_is_no_answer()
    nothing_of_the_program_is_shown_meanwhile()
    many_are_asked_as_one_and_a_flood_ends_with_a_word()
    a_name_cannot_steer_the_terminal()
    without_an_answer_it_is_a_no()
    an_interrupt_is_a_no_and_reaches_the_program()
    the_streams_need_not_be_the_terminal()
    nobody_is_asked_where_that_was_said()
    print("all asked")


main()
