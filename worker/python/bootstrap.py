import sys
from marshal import loads
from _frozen_importlib_external import MAGIC_NUMBER
# The worker is beside the socket, or beside this file where it is one.
here = sys.argv[1 if sys.argv[0] == "-c" else 0].rpartition("/")[0]
try:
    with open(here + "/worker.pyc", "rb", 0) as file:
        code = file.read()
    code = loads(memoryview(code)[16:]) if code[:4] == MAGIC_NUMBER else None
except FileNotFoundError:
    code = None
if code is None:
    with open(here + "/worker.py", "rb") as file:
        code = compile(file.read(), here + "/worker.py", "exec", dont_inherit=True)
exec(code, {"__name__": "buntime_worker", "__builtins__": __builtins__})
