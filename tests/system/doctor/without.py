"""Runs a command under a filter that answers some system calls as a container's would.

without.py ERRNO|kill NUMBER[:ARGUMENT=VALUE],... COMMAND...

A call of that number, with that value in the low word of that argument, fails with the errno, or
ends its process. clone3 is always hidden (ENOSYS), as containers do."""

import ctypes
import os
import struct
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO, KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
answer = KILL_PROCESS if sys.argv[1] == "kill" else ERRNO | int(sys.argv[1])


def statement(code, k, jt=0, jf=0):
    return struct.pack("=HBBI", code, jt, jf, k)


text = [statement(LOAD, 0),
        statement(EQUAL, 435, 0, 1), statement(RETURN, ERRNO | 38)]
for rule in filter(None, sys.argv[2].split(",")):
    number, _, argument = rule.partition(":")
    if not argument:
        text += [statement(EQUAL, int(number), 0, 1), statement(RETURN, answer)]
        continue
    index, value = (int(word, 0) for word in argument.split("="))
    text += [statement(EQUAL, int(number), 0, 4),
             statement(LOAD, 16 + 8 * index),
             statement(EQUAL, value, 0, 1), statement(RETURN, answer),
             statement(LOAD, 0)]
text.append(statement(RETURN, ALLOW))
program = ctypes.create_string_buffer(b"".join(text))
argument = ctypes.create_string_buffer(
    struct.pack("=HxxxxxxQ", len(text), ctypes.addressof(program)))
for call in ((38, 1, 0, 0, 0), (22, 2, argument, 0, 0)):
    if LIBC.prctl(*call) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
os.execvp(sys.argv[3], sys.argv[3:])
