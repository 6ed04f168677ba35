# Answers what Buntime asks about files that get other names meanwhile, or had others before.


def what_is_held_is_looked_at_again():
    """While a rename waits, its directory goes where reading is denied, and a file from there takes the
    place of what was to be renamed."""
    terminal = run("""
import os, threading
os.chdir(f'{FOLDER}/w')
os.mkdir('a')
open('a/harmless', 'w').write('harmless')
def move():
    try: os.rename('a/harmless', 'log/harmless')
    except OSError as error: print(f'<rename: {error.strerror}>', flush=True)
thread = threading.Thread(target=move)
thread.start()
while not os.path.exists(f'{FOLDER}/go'): pass
os.rename('a', 'keys/a')
os.rename('keys/host.key', 'keys/a/harmless')
print('<exchanged>', flush=True)
thread.join()
try: print(f'<{open("log/harmless").read()}>')
except OSError as error: print(f'<log: {error.strerror}>')
""", policy="held.json")
    terminal.expect(QUESTION.replace("([a-z ]+)", "create or write"))
    with open(f"{FOLDER}/go", "w"):
        pass
    terminal.expect(ANSWER)
    # What the program writes is shown after the answer.
    while not os.path.exists(f"{FOLDER}/w/keys/a/harmless") or os.path.exists(f"{FOLDER}/w/keys/host.key"):
        time.sleep(0.01)
    terminal.type("once\n")
    terminal.expect("<rename: No such file or directory>")
    terminal.expect("<log: No such file or directory>")
    ended(terminal, 0)


def an_answer_is_for_a_name():
    """What is asked about gets no name of which something else was said, by a rename or a link."""
    terminal = run(TRY + """
def moving(move, name, to):
    try:
        move(f'{FOLDER}/{name}', f'{FOLDER}/{to}')
        print(f'<{name} is {to}>')
    except OSError as error:
        print(f'<{name} {to}: {error.strerror}>')
attempt('asked/pub/a')
moving(os.rename, 'asked/private/s', 'asked/pub/s')
moving(os.link, 'asked/private/s', 'asked/pub/s')
moving(os.rename, 'asked/private', 'asked/pub/private')
moving(os.rename, 'asked/private/s', 'asked/pub/s')
attempt('asked/pub/s')
""", policy="reading.json")
    asked(terminal, "read", "asked/pub/a", f"path {FOLDER}/asked/pub\n")
    terminal.expect("<asked/pub/a r: PUBLIC>")
    for _ in [os.rename, os.link]:
        asked(terminal, "read", "asked/private/s", "deny\n")
        terminal.expect("<asked/private/s asked/pub/s: Permission denied>")
    asked(terminal, "read", "asked/private", "deny\n")
    terminal.expect("<asked/private asked/pub/private: Permission denied>")
    asked(terminal, "read", "asked/private/s", "once\n")
    terminal.expect("<asked/private/s is asked/pub/s>")
    terminal.expect("<asked/pub/s r: SECRET>")
    ended(terminal, 0)


def a_script_that_can_change_is_not_asked_about():
    """Its interpreter reads it after the answer."""
    terminal = run("""
import os, subprocess
for name in ['harmless', 'tools/s.sh']:
    try: subprocess.run([f'{FOLDER}/{name}'], check=True)
    except OSError as error: print(f'<{name}: {error.strerror}>')
""", policy="script.json")
    terminal.expect("harmless ran")
    terminal.expect("<tools/s.sh: Permission denied>")
    ended(terminal, 0)


def an_answer_for_a_program_is_for_what_it_contains():
    terminal = run("""
import os, subprocess
def attempt(name):
    try: subprocess.run([f'{FOLDER}/programs/{name}', name], check=True)
    except OSError as error: print(f'<{name}: {error.strerror}>')
for _ in range(2): attempt('good')
os.rename(f'{FOLDER}/programs/evil', f'{FOLDER}/programs/good')
attempt('good')
""", policy="programs.json")
    asked(terminal, "run the program", "programs/good", f"path {FOLDER}/programs/good\n")
    terminal.expect("good\r\n")
    terminal.expect("good\r\n")
    asked(terminal, "run the program", "programs/good", "deny\n")
    terminal.expect("<good: Permission denied>")
    ended(terminal, 0)


def an_answer_for_a_file_that_runs_is_for_what_it_contains():
    """A rule about files asks too: what is written meanwhile does not run, and no script is asked about."""
    terminal = run("""
import os, shutil, time
def begin(name):
    if child := os.fork():
        return child
    try: os.execv(f'{FOLDER}/programs/{name}', [name, 'it ran'])
    except OSError as error: print(f'<{name}: {error.strerror}>', flush=True)
    os._exit(1)
shutil.copy('/usr/bin/true', f'{FOLDER}/programs/p')
shutil.copy(f'{FOLDER}/harmless', f'{FOLDER}/programs/s')
os.waitpid(begin('s'), 0)
child = begin('p')
while not os.path.exists(f'{FOLDER}/write'): time.sleep(0.01)
with open('/usr/bin/echo', 'rb') as other, open(f'{FOLDER}/programs/p', 'wb') as file:
    file.write(other.read())
open(f'{FOLDER}/written', 'w').close()
print(f'<p: {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}>')
""", policy="files.json")
    terminal.expect("<s: Permission denied>")
    terminal.expect(QUESTION)
    terminal.expect(ANSWER)
    with open(f"{FOLDER}/write", "w"):
        pass
    while not os.path.exists(f"{FOLDER}/written"):
        time.sleep(0.01)
    terminal.type("once\n")
    terminal.expect("<p: -9>")
    ended(terminal, 0)


def main():
    what_is_held_is_looked_at_again()
    an_answer_is_for_a_name()
    a_script_that_can_change_is_not_asked_about()
    an_answer_for_a_program_is_for_what_it_contains()
    an_answer_for_a_file_that_runs_is_for_what_it_contains()
    print("all asked")


main()
