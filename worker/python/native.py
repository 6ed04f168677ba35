"""The channel through the native library: a lower cost per check, for a costlier start."""


def native_channel(plain, library_path):
    """Hands a channel that has said READY over to the native library."""
    import ctypes

    library = ctypes.CDLL(library_path)
    if library.buntime_version() != 1:
        raise ImportError(f"{library_path} is of another version than the worker")
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    text, count, identity = ctypes.c_char_p, ctypes.POINTER(size), ctypes.POINTER(ctypes.c_uint32)
    attach, send, check = library.buntime_attach, library.buntime_send, library.buntime_check
    resume, receive = library.buntime_resume, library.buntime_receive
    attach.restype, attach.argtypes = pointer, (ctypes.c_int, ctypes.c_int)
    send.restype = receive.restype = ctypes.c_ssize_t
    send.argtypes = pointer, ctypes.c_uint8, ctypes.c_uint32, text, size
    check.argtypes = pointer, ctypes.c_uint8, text, size, text, size, count, identity
    resume.argtypes = pointer, ctypes.c_uint32, text, size, count
    receive.argtypes = pointer, ctypes.POINTER(ctypes.c_uint8), text, size
    INTERRUPTED, LONGEST_REASON = -4, 2048

    plain.settle()
    plain.ring(b"")
    handle = attach(plain.socket, plain.memory.descriptor)
    if not handle:
        raise OSError("the native library cannot take the channel over")
    answers = []  # Idle places for an answer; as many as there were threads at once.

    class NativeChannel(Channel):
        def __init__(self):
            self.__dict__ = plain.__dict__

        def is_interrupted(self):
            return False  # Signal handlers run between calls, when no lock is held.

        def notify(self, kind, payload):
            self.write(kind, payload)

        def output(self, kind, data):
            data = bytes(data)
            while data:
                data = data[self.write(kind, data) :]

        def write(self, kind, payload):
            while True:
                sent = send(handle, kind, 0, payload, len(payload))
                if sent >= 0:
                    return sent
                if sent != INTERRUPTED:
                    raise OSError(-sent, "the channel is broken")

        def ask(self, kind, payload):
            try:
                place = answers.pop()
            except IndexError:
                reason = ctypes.create_string_buffer(LONGEST_REASON)
                place = reason, size(), ctypes.c_uint32()
            reason, length, request = place
            state = check(
                handle, kind, payload, len(payload), reason, LONGEST_REASON, length, request
            )
            while state == INTERRUPTED:
                if request.value:
                    state = resume(handle, request, reason, LONGEST_REASON, length)
                else:
                    state = check(
                        handle, kind, payload, len(payload), reason, LONGEST_REASON, length, request
                    )
            denial = reason.raw[: length.value].decode("utf-8", "replace") if state == 0 else None
            answers.append(place)
            if state < 0:
                raise OSError(-state, "the channel is broken")
            return denial

        def next_code(self):
            if self.code:
                return self.code.pop(0)
            room, kind = ctypes.create_string_buffer(65536), ctypes.c_uint8()
            while True:
                length = receive(handle, kind, room, len(room))
                if length > len(room):
                    room = ctypes.create_string_buffer(length)
                elif length >= 0 and kind.value == CODE:
                    return room.raw[:length]
                elif length < 0 and length != INTERRUPTED:
                    raise BrokenPipeError("the supervisor is gone")

    return NativeChannel()
