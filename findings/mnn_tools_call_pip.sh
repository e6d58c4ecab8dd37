#!/usr/bin/env bash
# Importing MNN.tools, which is what MNN's command mnnconvert does, runs `pip install` of a package for sending logs.
#
# Versions: MNN 3.6.1; Python 3.11, Linux, x86-64.
# Expected: a module that is imported, and a command that converts a file, install nothing; what a package needs is in its
#   metadata.
# Observed: `pip install -U aliyun-log-python-sdk`, of whatever version, by the `pip` that is first on the path: where the
#   environment is not activated, that is another Python's. Import and command go on if the package is still not there, so
#   that it is tried again each time. Here a program that writes its arguments to a file stands in for pip, so that
#   nothing is installed.
# A way around it: import _tools, the module beside it that converts: _tools.mnnconvert(["mnnconvert", "-f", "ONNX", ...]).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet MNN==3.6.1
if "$folder/venv/bin/pip" show --quiet aliyun-log-python-sdk 2> "$folder/shown"; then
    echo "MNN's metadata asks for the package after all"
    exit 1
fi
mkdir "$folder/path"
cat > "$folder/path/pip" <<SHELL
#!/bin/sh
echo "pip \$*" >> "$folder/calls"
SHELL
chmod +x "$folder/path/pip"
export PATH="$folder/path:$PATH"
touch "$folder/calls"
calls() {
    echo "$1: $(cat "$folder/calls")"
    grep -qx "pip install -U aliyun-log-python-sdk" "$folder/calls"
    rm "$folder/calls"
    touch "$folder/calls"
}
"$folder/venv/bin/python" -c "import MNN, _tools" > "$folder/seen"
echo "import MNN, _tools: $(wc -l < "$folder/calls") calls"
test ! -s "$folder/calls"
"$folder/venv/bin/python" -c "import MNN.tools" > "$folder/seen"
calls "import MNN.tools"
"$folder/venv/bin/mnnconvert" --version > "$folder/seen" 2>&1 || true
calls "mnnconvert --version"
