#!/bin/sh
# A wheel of a folder is installed into a new virtual environment, used, replaced and removed.
set -eu
umask 022
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INDEX=1 PIP_NO_CACHE_DIR=1

python3 - <<'PYTHON'
import base64, hashlib, os, zipfile

os.mkdir("wheels")
for version in ["1.0", "2.0"]:
    files = {
        "greeting/__init__.py": f"VERSION = {version!r}\n",
        "greeting/__main__.py": "from greeting.say import main\n\nmain()\n",
        "greeting/say.py": "from importlib import resources\n\nfrom greeting import VERSION\n\n\n"
        "def main():\n    words = resources.files('greeting').joinpath('words').read_text()\n"
        "    print(words.strip(), VERSION)\n",
        "greeting/words": "good day\n",
        f"greeting-{version}.data/scripts/greet.sh": "#!/bin/sh\necho a script\n",
        f"greeting-{version}.data/data/share/greeting/text": "data\n",
        f"greeting-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: greeting\nVersion: {version}\n",
        f"greeting-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"greeting-{version}.dist-info/entry_points.txt": "[console_scripts]\ngreet = greeting.say:main\n",
    }
    if version == "1.0":
        files["greeting/old.py"] = ""
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text)}\n"
    name = f"greeting-{version}.dist-info/RECORD"
    files[name] = record + f"{name},,\n"
    with zipfile.ZipFile(f"wheels/greeting-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            member = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
            member.external_attr = (0o100755 if name.endswith(".sh") else 0o100644) << 16
            wheel.writestr(member, text)
PYTHON

python3 -m venv environment
. environment/bin/activate
pip install --quiet --find-links wheels 'greeting==1.0'
greet
greet.sh
python -m greeting
pip install --quiet --upgrade --find-links wheels greeting
greet
pip list --format=freeze
pip show --files greeting
pip uninstall --quiet --yes greeting
pip install --quiet wheels/greeting-2.0-py3-none-any.whl
python -c 'import greeting, sys; print(greeting.__file__, sys.prefix)'
