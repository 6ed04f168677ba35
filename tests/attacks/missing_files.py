"""Line 3. Uses a file that a rule denies and that is missing at the start: it is made later, or while the start is under way."""

FOLDER = f"{YARD}/granted"
FILE = f"{FOLDER}/settings"
# The folder itself may be used, or nothing is shown.
HEAD = f"""
import os, time
folder, file = {FOLDER!r}, {FILE!r}
open(folder + "/used", "w").close()
def told(path):
    try:
        with open(path) as opened:
            return opened.read()
    except OSError as error:
        return str(error)
"""


def used(program, meanwhile_outside=lambda: None, file=FILE):
    os.makedirs(FOLDER, exist_ok=True)
    running = sandbox(HEAD + program, FOLDER, file)
    meanwhile_outside()
    running.wait()
    if not os.path.exists(f"{FOLDER}/used"):
        raise NotReached(running.said())
    return running.said()


def outside():
    """What somebody else makes once the program runs."""
    until(lambda: os.path.exists(f"{FOLDER}/used"), "it does not start")
    with open(f"{YARD}/other", "w") as file:
        file.write(MARK)
    os.rename(f"{YARD}/other", FILE)
    open(f"{FOLDER}/go", "w").close()


def judge(said):
    if MARK not in said:
        denied(said)


@against
def made_inside():
    used("""
try:
    open(file, "w").write("x")
except OSError as error:
    print(error)
""")
    if not os.path.exists(FILE):
        denied("it was not made")


@against
def moved_there_inside():
    used("""
try:
    os.rename(folder + "/used", file)
finally:
    open(folder + "/used", "w").close()
""")
    if not os.path.exists(FILE):
        denied("it was not made")


@against
def made_with_its_folder_inside():
    below = f"{FOLDER}/new/settings"
    used(f"""
os.mkdir(folder + "/new")
open({below!r}, "w").write("x")
""", file=below)
    if not os.path.exists(below):
        denied("it was not made")


@against
def made_outside_and_read():
    judge(used("""
while not os.path.exists(folder + "/go"):
    time.sleep(0.005)
print(told(file))
""", outside))


@against
def made_outside_and_written():
    used("""
while not os.path.exists(folder + "/go"):
    time.sleep(0.005)
open(file, "a").write("more")
""", outside)
    with open(FILE) as file:
        if "more" not in file.read():
            denied("it was not written")


@against
def made_while_it_starts():
    """It comes from outside and goes there again all the time, and the program looks for it a while."""
    os.makedirs(FOLDER)
    other = f"{YARD}/other"
    with open(other, "w") as file:
        file.write(MARK)

    def comes_and_goes():
        for _ in range(20):
            os.rename(other, FILE)
            time.sleep(0.001)
            os.rename(FILE, other)
            time.sleep(0.001)

    meanwhile(comes_and_goes)
    said = ""
    for _ in range(8):
        running = sandbox(HEAD + """
for _ in range(100):
    print(told(file))
    time.sleep(0.001)
""", FOLDER, FILE)
        said += running.wait().said()
        tidy()
        if MARK in said:
            break
    judge(said)
