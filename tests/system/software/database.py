"""SQLite with a write-ahead log: several processes and threads that write and read, what a reader
sees, checkpoints, and a writer that is killed."""

import os
import signal
import sqlite3
import stat
import sys
import threading

NAME = "base.db"
WRITERS, ROWS = 4, 50


def connect():
    base = sqlite3.connect(NAME, timeout=120, isolation_level=None)
    base.execute("pragma synchronous=full")
    return base


def files():
    for name in sorted(os.listdir(".")):
        if name.startswith(NAME):
            print(name, stat.filemode(os.stat(name).st_mode))


def write(writer):
    base = connect()
    for row in range(ROWS):
        base.execute("begin immediate")
        base.execute("insert into kept values (?, ?)", (writer, row))
        base.execute("update total set rows = rows + 1")
        base.execute("commit")
    base.close()


def in_processes(work):
    children = []
    for number in range(WRITERS):
        child = os.fork()
        if child == 0:
            work(number)
            os._exit(0)
        children.append(child)
    for child in children:
        print("writer", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def content(base):
    print(base.execute("select rows from total").fetchone())
    print(base.execute("select writer, count(*), sum(row) from kept group by writer").fetchall())
    print(base.execute("pragma integrity_check").fetchall())


os.umask(0o027)
base = connect()
print(base.execute("pragma journal_mode=wal").fetchone())
base.execute("create table kept (writer, row)")
base.execute("create table total (rows)")
base.execute("insert into total values (0)")
files()

# What a reader has begun to read stays as it is.
base.execute("begin")
print("before", base.execute("select rows from total").fetchone())
in_processes(write)
print("still", base.execute("select rows from total").fetchone())
other = connect()
busy, written, moved = other.execute("pragma wal_checkpoint(passive)").fetchone()
print("held back", busy, moved < written)
other.close()
base.execute("commit")
content(base)
print("checkpoint", base.execute("pragma wal_checkpoint(truncate)").fetchone())
print("log", os.stat(NAME + "-wal").st_size)

threads = [threading.Thread(target=write, args=(10 + number,)) for number in range(WRITERS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
content(base)

# One that is killed in the middle of a transaction leaves nothing of it, and no lock.
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    own = connect()
    own.execute("begin immediate")
    own.execute("delete from kept")
    os.write(writer, b"x")
    signal.pause()
os.read(reader, 1)
other = sqlite3.connect(NAME, timeout=0, isolation_level=None)
try:
    other.execute("begin immediate")
except sqlite3.OperationalError as error:
    print(error)
os.kill(child, signal.SIGKILL)
print("killed", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
other.execute("begin immediate")
other.execute("rollback")
content(other)

# The pages themselves, mapped.
print("mapped", other.execute("pragma mmap_size=1048576").fetchone())
print(len(other.execute("select * from kept").fetchall()))
other.close()
base.close()
files()

base = connect()
base.execute("attach 'copy.db' as copy")
base.execute("create table copy.kept as select * from kept order by writer, row")
base.execute("vacuum")
content(base)
print(base.execute("pragma journal_mode=delete").fetchone())
base.close()
files()
try:
    sqlite3.connect("file:nowhere.db?mode=ro", uri=True).execute("select 1 from kept")
except sqlite3.OperationalError as error:
    print(error)
sys.stdout.flush()
