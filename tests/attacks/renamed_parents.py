"""Line 44. Moves what lies above a denied path, or has it appear in another place, and reads it there."""

HERE, MARK = "@GROUND@/granted", b"@MARK@"


def judge(path):
    with open(path, "rb") as file:
        if MARK not in file.read():
            raise NotReached("another file")


@attempt
def api_renamed_folder():
    os.rename(f"{HERE}/sub", f"{HERE}/moved")
    try:
        judge(f"{HERE}/moved/denied")
    finally:
        os.rename(f"{HERE}/moved", f"{HERE}/sub")


@attempt
def raw_renamed_folder():
    syscall("rename", f"{HERE}/sub".encode(), f"{HERE}/moved".encode())
    try:
        judge(f"{HERE}/moved/denied")
    finally:
        os.rename(f"{HERE}/moved", f"{HERE}/sub")


@attempt
def raw_exchanged_folder():
    one, other = f"{HERE}/sub".encode(), f"{HERE}/other".encode()
    syscall("renameat2", AT_FDCWD, one, AT_FDCWD, other, 2)
    try:
        judge(f"{HERE}/other/denied")
    finally:
        syscall("renameat2", AT_FDCWD, one, AT_FDCWD, other, 2)


@attempt
def raw_renamed_file():
    syscall("rename", f"{HERE}/denied".encode(), f"{HERE}/moved-file".encode())
    try:
        judge(f"{HERE}/moved-file")
    finally:
        os.rename(f"{HERE}/moved-file", f"{HERE}/denied")


@attempt
def raw_exchanged_file():
    one, other = f"{HERE}/denied".encode(), f"{HERE}/ok".encode()
    syscall("renameat2", AT_FDCWD, one, AT_FDCWD, other, 2)
    try:
        judge(f"{HERE}/ok")
    finally:
        syscall("renameat2", AT_FDCWD, one, AT_FDCWD, other, 2)


@attempt
def raw_moved_out_of_the_granted_folder():
    syscall("rename", f"{HERE}/sub".encode(), f"{TMP}/moved".encode())
    try:
        judge(f"{TMP}/moved/denied")
    finally:
        os.rename(f"{TMP}/moved", f"{HERE}/sub")


@attempt
def raw_moved_away_and_replaced():
    """Whoever puts another file where the denied one was has changed it."""
    os.rename(f"{HERE}/keep", f"{HERE}/kept")
    os.rename(f"{HERE}/kept", f"{HERE}/keep")


@attempt
def raw_granted_folder_itself():
    os.rename(HERE, HERE + "-moved")
    try:
        judge(HERE + "-moved/denied")
    finally:
        os.rename(HERE + "-moved", HERE)


@attempt
def raw_folder_held_before():
    folder = os.open(f"{HERE}/sub", os.O_PATH)
    descriptor = syscall("openat", folder, b"denied", 0, 0)
    if MARK not in os.read(descriptor, 4096):
        raise NotReached("another file")


@attempt
def raw_working_directory():
    os.chdir(f"{HERE}/sub")
    judge("denied")
