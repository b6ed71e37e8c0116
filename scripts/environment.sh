# Sourced by scripts/test and scripts/demo: enters the repository and its environment, making or updating .venv where needed.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
stamp=.venv/installed.sha256

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.12 python3.11 python3.13; do
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "No Python 3.11 or newer with the venv module was found; install one, or name it: PYTHON=/path/to/python $0" >&2
    return 1
}

wanted=$(cat pyproject.toml constraints.txt | { sha256sum 2>/dev/null || shasum -a 256; })
if [[ ! -x .venv/bin/python ]]; then
    python=$(find_python)
    echo "Making .venv with $("$python" --version)"
    "$python" -m venv .venv
fi
if [[ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]]; then
    echo "Installing into .venv (one to several minutes, about 2 GB)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
    echo "$wanted" >"$stamp"
fi
export PATH="$PWD/.venv/bin:$PATH"
